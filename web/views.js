// What is shown: markets, a market, jobs, a job, nodes, a node. A view gives the elements of the page.
import { all, call, events, token } from './api.js';
import { age, bar, bytes, chart, duration, el, stamp, state, table } from './dom.js';

const API = '/api/v1/orchestrator';
const HELD = ['claimed', 'staging', 'running', 'publishing'];
const SHOWN_JOBS = 200;
const HIT_JOBS = 30;
const CHART_BARS = 30;

const link = (kind, id, text = id) => el('a', { href: `#/${kind}/${encodeURIComponent(id)}` }, text);
const short = (id) => link('job', id, el('code', {}, id.slice(0, 10)));
const counts = (object) => Object.entries(object || {}).filter(([, n]) => n).map(([k, n]) => `${n} ${k}`).join(', ') || 'none';

function jobTable(caption, jobs, withMarket) {
  return table(caption, [
    ['Job', (j) => short(j.id)], ['Name', (j) => j.name],
    ...(withMarket ? [['Market', (j) => link('market', j.market)]] : []),
    ['State', (j) => state(j.state)], ['Age', (j) => age(j.created_ms), true],
    ['Took', (j) => (j.finished_ms ? duration(j.finished_ms - j.created_ms) : '–'), true],
    ['Exit', (j) => (j.exit_code === null ? '–' : String(j.exit_code)), true], ['Node', (j) => (j.node ? link('node', j.node) : '–')],
    ['Reason', (j) => j.reason || ''],
  ], jobs);
}

function nodeTable(caption, nodes) {
  return table(caption, [
    ['Node', (n) => link('node', n.id, n.name || n.id)], ['Market', (n) => link('market', n.market)],
    ['State', (n) => state(!n.live ? 'gone' : n.state === 'approved' ? (n.ready ? 'ready' : 'preparing') : n.state)],
    ['Slots', (n) => `${n.running}/${n.slots}`, true],
    ['GPUs', (n) => (n.info?.gpus || []).map((g) => g.name).join(', ') || '–'],
    ['Cache', (n) => (n.cache?.max_bytes ? el('span', {}, bytes(n.cache.bytes), bar(n.cache.bytes, n.cache.max_bytes, 'cache used')) : bytes(n.cache?.bytes)), true],
    ['Disk free', (n) => bytes(n.cache?.free_bytes), true], ['Seen', (n) => age(n.last_seen_ms), true],
    ['Readiness', (n) => n.readiness || ''],
  ], nodes);
}

export async function marketsView() {
  const markets = await all('/api/markets', 'markets');
  return [el('h1', {}, 'Markets'),
    markets.length ? el('div', { class: 'cards' }, markets.map((m) => el('section', { class: 'card' },
      el('h2', {}, link('market', m.address)), el('p', { class: 'soft' }, m.description || m.name || ''),
      el('dl', {}, el('dt', {}, 'queue'), el('dd', {}, counts(m.queue)), el('dt', {}, 'nodes'), el('dd', {}, counts(m.nodes))))))
      : el('p', {}, 'There is none yet: ', el('code', {}, 'berth market create NAME'))];
}

function throughput(jobs) {
  const ended = jobs.filter((j) => j.finished_ms).map((j) => j.finished_ms);
  if (!ended.length) return null;
  const from = Math.min(...ended);
  const width = Math.max(1000, (Date.now() - from) / CHART_BARS);
  const points = Array.from({ length: CHART_BARS }, (_, i) => ({ label: new Date(from + i * width).toLocaleTimeString(), value: 0 }));
  for (const at of ended) points[Math.min(CHART_BARS - 1, Math.floor((at - from) / width))].value++;
  return chart(`Jobs ended, each bar ${duration(width)}`, points, 'jobs');
}

// How much of the inputs of the last jobs came out of caches, from their run records.
const hits = new Map();
async function hitRates(jobs) {
  const ended = jobs.filter((j) => j.finished_ms).slice(0, HIT_JOBS).reverse();
  for (const j of ended.filter((x) => !hits.has(x.id))) {
    const { executions } = await call(`${API}/jobs/${j.id}/executions`);
    const inputs = executions.flatMap((e) => e.record?.inputs || []);
    const cached = inputs.reduce((n, i) => n + (i.bytes_cached || 0), 0);
    const total = inputs.reduce((n, i) => n + (i.bytes || (i.bytes_cached || 0) + (i.bytes_fetched || 0)), 0);
    hits.set(j.id, total ? Math.round((100 * cached) / total) : null);
  }
  const points = ended.filter((j) => hits.get(j.id) !== null).map((j) => ({ label: j.id.slice(0, 10), value: hits.get(j.id) }));
  return points.length ? chart('Inputs that were in the cache, of the last jobs', points, '%') : null;
}

function holders(nodes) {
  const held = new Map();
  for (const n of nodes) for (const h of n.holds || []) {
    const one = held.get(h.key) || { key: h.key, label: h.label || h.key, bytes: 0, nodes: [] };
    one.bytes = Math.max(one.bytes, h.bytes);
    one.nodes.push(n);
    held.set(h.key, one);
  }
  return [...held.values()].sort((a, b) => b.nodes.length - a.nodes.length);
}

export async function marketView(address) {
  const at = encodeURIComponent(address);
  const [{ market }, required] = await Promise.all([call(`/api/markets/${at}`), call(`/api/markets/${at}/required-resources`)]);
  const page = [el('h1', {}, address), el('p', { class: 'soft' }, market.description || '')];
  const must = [...(required.required_images || []).map((i) => `image ${i}`),
    ...(required.required_remote_resources || []).map((r) => `${r.type} ${r.url || r.repo || r.model || JSON.stringify(r)}`)];
  page.push(el('dl', {}, el('dt', {}, 'queue'), el('dd', {}, counts(market.queue)), el('dt', {}, 'nodes'), el('dd', {}, counts(market.nodes)),
    el('dt', {}, 'every node holds'), el('dd', {}, must.length ? must.map((m) => el('div', {}, m)) : 'nothing in particular')));
  if (!token()) return [...page, el('p', {}, 'Jobs and nodes are shown with a token.')];
  const [jobs, nodes] = await Promise.all([all(`${API}/jobs?market=${at}&limit=100`, 'jobs', SHOWN_JOBS), all(`${API}/nodes?market=${at}`, 'nodes')]);
  const waiting = jobs.filter((j) => j.state === 'queued');
  const going = jobs.filter((j) => HELD.includes(j.state));
  page.push(el('div', { class: 'cards' }, throughput(jobs), await hitRates(jobs)),
    el('h2', {}, 'Nodes'), nodeTable(`Nodes of ${address}`, nodes),
    el('h2', {}, 'Who holds what'), table('Inputs in caches', [['Input', (h) => el('code', {}, h.label.length > 60 ? `${h.label.slice(0, 60)}…` : h.label)],
      ['Size', (h) => bytes(h.bytes), true], ['Nodes', (h) => h.nodes.map((n, i) => [i ? ', ' : '', link('node', n.id, n.name || n.id)])]], holders(nodes)),
    el('h2', {}, 'Queue'), jobTable('Waiting', waiting), jobTable('Under way', going),
    el('h2', {}, 'History'), jobTable('Ended', jobs.filter((j) => j.finished_ms)));
  return page;
}

export async function jobsView() {
  return [el('h1', {}, 'Jobs'), jobTable('The newest first', await all(`${API}/jobs?limit=100`, 'jobs', SHOWN_JOBS), true)];
}

export async function nodesView() {
  return [el('h1', {}, 'Nodes'), nodeTable('All markets', await all(`${API}/nodes?limit=100`, 'nodes'))];
}

export async function nodeView(id) {
  const { node } = await call(`${API}/nodes/${encodeURIComponent(id)}`);
  const act = (action) => el('button', { onclick: () => call(`${API}/nodes/${encodeURIComponent(id)}`, {
    method: 'PUT', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify({ version: 1, action }) }).catch((e) => alert(e.message)) }, action);
  return [el('h1', {}, node.name || node.id), nodeTable('This node', [node]),
    el('p', {}, node.state === 'pending' ? [act('approve'), ' ', act('reject')] : node.state === 'draining' ? act('undrain') : [act('drain'), ' ', act('reject')]),
    el('dl', {}, Object.entries({ id: node.id, engine: node.info?.engine, version: node.info?.version, cpus: node.info?.cpus,
      memory: bytes(node.info?.memory_bytes), disk: bytes(node.info?.disk_bytes),
      gpus: (node.info?.gpus || []).map((g) => `${g.name} (${g.memory_mib} MiB)`).join(', ') || 'none',
      labels: Object.entries(node.labels || {}).map(([k, v]) => `${k}=${v}`).join(' ') || 'none' })
      .flatMap(([k, v]) => [el('dt', {}, k), el('dd', {}, String(v ?? '–'))])),
    table('In its cache', [['Input', (h) => el('code', {}, h.label || h.key)], ['Size', (h) => bytes(h.bytes), true]], node.holds || [])];
}

// The time between the moves of one execution.
function phases(history, index) {
  const moves = history.filter((h) => h.index === index).sort((a, b) => a.seq - b.seq);
  return moves.map((m, i) => ({ state: m.to, from: m.at_ms, ms: (moves[i + 1]?.at_ms ?? (HELD.includes(m.to) || m.to === 'queued' ? Date.now() : m.at_ms)) - m.at_ms }))
    .filter((p) => p.ms > 0 && (HELD.includes(p.state) || p.state === 'queued'));
}

function timeline(history, index) {
  const parts = phases(history, index);
  const total = parts.reduce((n, p) => n + p.ms, 0) || 1;
  return el('div', { class: 'card' },
    el('div', { class: 'timeline', 'aria-hidden': 'true' }, parts.map((p) => el('span', { class: p.state, style: `width:${(100 * p.ms) / total}%`, title: `${p.state} ${duration(p.ms)}` }))),
    el('ul', { class: 'legend', 'aria-label': 'Phases' }, parts.map((p) => el('li', { class: p.state }, el('i', { 'aria-hidden': 'true' }), `${p.state} ${duration(p.ms)}`))));
}

function progress(execution) {
  const inputs = execution.progress?.inputs || [];
  return inputs.length ? table('Inputs', [['Input', (i) => i.label || i.name], ['Phase', (i) => i.phase],
    ['Bytes', (i) => `${bytes(i.bytes_done)} of ${bytes(i.bytes_total)}`, true], ['', (i) => bar(i.bytes_done, i.bytes_total, i.label || 'input')],
    ['Files', (i) => `${i.files_done ?? '–'}/${i.files_total ?? '–'}`, true]], inputs) : null;
}

const LOG_CHARS = 400000;
function follow(pre, id, signal) {
  const decoders = { 1: new TextDecoder(), 2: new TextDecoder() };
  events(`${API}/jobs/${id}/logs?follow=1`, signal, (name, data) => {
    if (name !== 'log' && name !== 'gap') return;
    const atEnd = pre.scrollTop + pre.clientHeight >= pre.scrollHeight - 4;
    const text = name === 'gap' ? '[some of the log was not kept]\n'
      : decoders[data.stream].decode(Uint8Array.from(atob(data.data), (c) => c.charCodeAt(0)), { stream: true });
    pre.append(el('span', { class: name === 'gap' || data.stream === 2 ? 'err' : null }, text));
    while (pre.textContent.length > LOG_CHARS && pre.firstChild) pre.firstChild.remove();
    if (atEnd) pre.scrollTop = pre.scrollHeight;
  }).catch((e) => pre.append(el('span', { class: 'err' }, e.message)));
}

export async function jobView(id, { signal, first, main }) {
  const { job, history, executions } = await call(`${API}/jobs/${encodeURIComponent(id)}?include=history,executions`);
  const ended = job.finished_ms !== null;
  const top = el('div', { id: 'job-top' }, el('h1', {}, `${job.name} `, state(job.state)), el('p', { class: 'soft' }, el('code', {}, job.id), job.reason ? ` – ${job.reason}` : ''),
    ended ? null : el('p', {}, el('button', { class: 'danger', onclick: () => call(`${API}/jobs/${job.id}`, { method: 'DELETE' }).catch((e) => alert(e.message)) }, 'Stop this job')),
    executions.map((e) => [executions.length > 1 ? el('h2', {}, `Execution ${e.index}`) : null, timeline(history, e.index), progress(e)]),
    el('dl', {}, Object.entries({ market: link('market', job.market), node: job.node ? link('node', job.node) : '–', created: stamp(job.created_ms),
      finished: stamp(job.finished_ms), 'exit code': job.exit_code ?? '–', images: (job.images || []).join(', ') || '–',
      inputs: (job.inputs || []).map((i) => el('div', {}, i)), publish: job.publish || '–',
      labels: Object.entries(job.labels || {}).map(([k, v]) => `${k}=${v}`).join(' ') || '–' }).flatMap(([k, v]) => [el('dt', {}, k), el('dd', {}, v)])));
  const past = el('div', { id: 'job-history' }, table('History', [['When', (h) => stamp(h.at_ms)], ['Execution', (h) => String(h.index), true], ['Attempt', (h) => String(h.attempt), true],
    ['From', (h) => (h.from ? state(h.from) : '–')], ['To', (h) => state(h.to)], ['Node', (h) => (h.node ? link('node', h.node) : '–')], ['Reason', (h) => h.reason]], history));
  if (!first && main.querySelector('#job-log')) {
    main.querySelector('#job-top').replaceWith(top);
    main.querySelector('#job-history').replaceWith(past);
    return null; // the log goes on by itself
  }
  const pre = el('pre', { id: 'job-log', tabindex: 0, role: 'log', 'aria-label': 'Log' });
  follow(pre, job.id, signal);
  return [top, el('h2', {}, 'Log'), pre, el('h2', {}, 'History'), past];
}
