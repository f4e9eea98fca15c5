// One job: its phases, the progress of its inputs, its log, its results and its history.
import { at, call, JOBS, now } from './api.js';
import { el } from './dom.js';
import { bytes, count, DASH, duration, words } from './format.js';
import { logPlace, logView } from './log.js';
import { attemptColumn, facts, HELD, isEnded, link, mark, meter, nothing, panel, reasonColumn, since, state, table, time, timeline, title } from './parts.js';

const EXECUTIONS_SHOWN = 100;
const HISTORY_SHOWN = 200;
const MANY = 500; // executions: their list is long to send
const PHASES = ['queued', ...HELD];

// The time between the moves of one execution; what still lasts, lasts until now.
function phasesOf(job, moves) {
  const steps = [{ to: 'queued', at_ms: job.created_ms, attempt: 1 }, ...moves.filter((m) => m.from !== m.to)];
  return steps.map((m, i) => ({ state: m.to, from: m.at_ms, attempt: m.attempt, ms: Math.max(0, (steps[i + 1]?.at_ms ?? now()) - m.at_ms) }))
    .filter((p) => PHASES.includes(p.state) && p.ms > 0);
}

// Bytes a second between the last two different reports: heartbeats come seldom.
function rate(memory, name, done) {
  memory.rates ??= new Map();
  const last = memory.rates.get(name);
  if (!last || done < last.done) memory.rates.set(name, { done, at: now(), rate: 0 });
  else if (done > last.done) memory.rates.set(name, { done, at: now(), rate: (1000 * (done - last.done)) / Math.max(500, now() - last.at) });
  return memory.rates.get(name).rate;
}

function transfer(key, name, phase, p, memory) {
  const left = p.bytes_total - p.bytes_done;
  const speed = left > 0 ? rate(memory, key, p.bytes_done) : 0;
  return el('li', { 'data-key': key },
    el('div', { class: 'line' }, el('span', { class: 'name' }, name), el('span', { class: 'soft' }, words(phase))),
    meter(p.bytes_done, p.bytes_total, `${name}: ${words(phase)}`, { cached: p.bytes_cached }),
    el('div', { class: 'line soft' }, el('span', {}, `${bytes(p.bytes_done)} of ${bytes(p.bytes_total)}`, p.files_total > 0 && `, ${count(p.files_done)} of ${count(p.files_total)} files`,
      p.bytes_cached > 0 && `, ${bytes(p.bytes_cached)} from the cache`), speed > 0 && el('span', {}, `${bytes(speed)}/s, ${duration((1000 * left) / speed)} left`)));
}

// The record says where in the job file an input stands; the job says what it is.
const nameOf = (job, i) => (job.inputs || []).find((text) => i.target && text.endsWith(` → ${i.target}`)) || [i.at || i.source || 'input', i.target].filter(Boolean).join(' → ');

// What the run record says once it is there; before, what the heartbeats say.
function inputsPanel(job, execution, memory) {
  const progress = execution?.progress || {};
  const done = (execution?.record?.inputs || []).map((i, n) => transfer(`input ${n}`, nameOf(job, i),
    i.fetch_ms ? `took ${duration(i.fetch_ms)}` : 'ready', { bytes_done: i.bytes, bytes_total: i.bytes, bytes_cached: i.bytes_cached, files_done: i.files, files_total: i.files }, memory));
  const going = (progress.inputs || []).map((i, n) => transfer(`input ${n}`, i.input || 'input', i.phase || '', i, memory));
  const parts = [['image', 'container image'], ['publishing', 'results']].filter(([k]) => progress[k]).map(([k, name]) => transfer(k, name, k === 'image' ? 'pulling' : 'uploading', progress[k], memory));
  const rows = done.length ? done : [...parts, ...going];
  return panel('inputs', 'Inputs', rows.length ? el('ul', { class: 'transfers' }, rows)
    : job.inputs?.length ? el('ul', { class: 'plain' }, job.inputs.map((i) => el('li', { class: 'name' }, i))) : nothing('This job has no inputs.'));
}

function executionTable(job, executions, chosen) {
  if (executions.length < 2) return null;
  const order = (e) => (e.index === chosen ? -1 : HELD.includes(e.state) ? 0 : e.state === 'queued' ? 2 : e.state === 'succeeded' ? 3 : 1);
  const rows = [...executions].sort((a, b) => order(a) - order(b) || a.index - b.index).slice(0, EXECUTIONS_SHOWN).sort((a, b) => a.index - b.index);
  return panel('executions', 'Executions', el('p', { class: 'soft' }, Object.entries(job.executions || {}).filter(([, n]) => n).map(([s, n]) => `${n} ${words(s)}`).join(', ')),
    table('Executions', [['Execution', (e) => el('a', { href: `#/job/${encodeURIComponent(job.id)}/${e.index}`, 'aria-current': e.index === chosen ? 'true' : null }, `#${e.index}`), 'first'],
      ['State', (e) => state(e.state), 'state'], ...attemptColumn(executions), ['Node', (e) => e.node && link('node', e.node)], ['Started', (e) => since(e.started_ms)],
      ['Exit', (e) => e.exit_code, 'n spare'], reasonColumn((e) => (HELD.includes(e.state) ? '' : e.reason))], rows, { key: (e) => String(e.index) }),
    rows.length < executions.length && el('p', { class: 'soft' }, `${rows.length} of ${executions.length} are shown, those that run or failed first.`));
}

// Which execution a row is of, where there are several.
const whichOf = (job, rows) => ((job.count ?? 1) > 1 || rows.some((r) => r.index > 0) ? [['Execution', (r) => r.index, 'n']] : []);

function published(r) {
  const p = r.published || {};
  const place = p.Params?.Bucket ? `s3://${p.Params.Bucket}/${p.Params.Key || ''}` : p.Params?.Path || p.Type || DASH;
  return /^https?:\/\//.test(r.url || '') ? el('a', { href: r.url, rel: 'noreferrer noopener', target: '_blank' }, place) : place;
}

const resultPanel = (job, results) => (results.length ? panel('results', 'Results', table('Results', [...whichOf(job, results), ['Published', (r) => el('span', { class: 'name' }, published(r)), 'first'],
  ['Exit', (r) => r.exit_code, 'n'], ['Link good until', (r) => (r.url ? time(r.expires_ms) : DASH), 'spare']], results.slice(0, EXECUTIONS_SHOWN)),
el('p', { class: 'soft after' }, 'All of it to this machine: ', el('code', {}, `berth job get ${job.id}`))) : null);

const about = (job) => panel('about', 'About', facts([['market', job.market && link('market', job.market)], ['node', job.node && link('node', job.node)],
  ['posted', time(job.created_ms)], ['ended', time(job.finished_ms)], ['exit code', job.exit_code], ['priority', job.priority || null],
  ['images', (job.images || []).map((i) => el('div', { class: 'name' }, i))], ['publish', job.publish], ['time-out', job.timeout_ms ? duration(job.timeout_ms) : 'none'],
  ['labels', Object.entries(job.labels || {}).map(([k, v]) => `${k}=${v}`).join(' ')], job.confidential ? ['confidential', 'sealed to the node that claims it'] : null].filter(Boolean)));

const historyPanel = (job, history) => panel('history', 'History', table('History', [['When', (h) => time(h.at_ms), 'first'], ['State', (h) => state(h.to), 'state'], ...whichOf(job, history),
  ...attemptColumn(history), ['Node', (h) => h.node && link('node', h.node), 'spare'], reasonColumn((h) => h.reason)],
history.slice(-HISTORY_SHOWN).reverse(), { key: (h) => String(h.seq), empty: 'It waits for a node.' }),
history.length > HISTORY_SHOWN && el('p', { class: 'soft' }, `The last ${HISTORY_SHOWN} of ${history.length} moves are shown.`));

export async function stopJob({ id }, ask) {
  const answer = await ask({ title: 'Stop this job?', text: 'What runs is ended, and nothing of it is published.', yes: 'Stop', reason: true });
  if (answer) await call(at(JOBS, id, answer.reason ? `?${new URLSearchParams({ reason: answer.reason })}` : ''), { method: 'DELETE' });
}

export async function job({ params: [id, index], signal, memory, refresh }) {
  const options = { signal };
  const { job: j, history = [], executions = [] } = await call(at(JOBS, id, '?include=history,executions'), options);
  const chosen = index ? Number(index) : (executions.find((e) => HELD.includes(e.state)) || executions[0])?.index ?? 0;
  const shown = memory.index ??= chosen; // the log stays with one
  const execution = executions.find((e) => e.index === shown);
  const over = isEnded(j.state);
  const results = over ? (await call(at(JOBS, j.id, '/results'), options).catch(() => ({}))).results || [] : [];
  const log = memory.log ? logPlace(shown) : logView(j.id, shown, signal, refresh);
  memory.log = true;
  const many = executions.length > 1 ? ` of execution ${shown}` : '';
  return { name: j.name || j.id, fresh: !over, pace: executions.length > MANY ? 5 : 1, news: `${j.name || j.id}: ${words(j.state)}`, content: [
    title(j.name || j.id, { up: [el('a', { href: '#/jobs' }, 'Jobs'), ' / ', j.market && link('market', j.market)], badge: state(j.state), below: el('code', {}, j.id),
      actions: !over && el('button', { class: 'danger', 'data-action': 'stop', 'data-id': j.id, 'data-key': 'stop' }, 'Stop this job') }),
    over && j.reason && el('p', { class: `callout ${j.state}`, 'data-key': 'why' }, j.reason),
    panel('phases', `Phases${many}`, timeline(phasesOf(j, history.filter((h) => h.index === shown)), `Phases${many}`)),
    executionTable(j, executions, shown),
    el('div', { class: 'two', 'data-key': 'two' }, inputsPanel(j, execution, memory), about(j)),
    panel('log', `Log${many}`, log),
    resultPanel(j, results),
    historyPanel(j, history)] };
}
