// All markets, and one of them: its queue, its nodes, what they hold, and how it has been going.
import { ApiError, at, call, JOBS, MARKETS, NODES, now, page, token } from './api.js';
import { el } from './dom.js';
import { bytes, count, DASH, duration, hour, percent, shortId } from './format.js';
import { holdName, holdNames, resourceName } from './holds.js';
import { chart, commands, facts, HELD, isEnded, jobTable, link, meter, nodeTable, nothing, panel, STATES, table, tiles, title } from './parts.js';

const PAGE = 500;          // the most that a list gives at once
const RECENT = 200;        // jobs that the history and the charts look at
const SHOWN = 50;          // rows of the queue and of the history
const BARS = 30;
const RECORDS = 20;        // run records behind the chart of cached inputs
const RECORDS_AT_ONCE = 4;
const HOLDERS = 30;        // nodes that are asked what they hold …
const HOLDS_MS = 30000;    // … this often
const HOLDS_SHOWN = 50;
const CHIPS = 8;
const STAGING = 10;        // jobs whose inputs' progress is asked for
const MINUTE = 60000;
const SPANS = [1, 2, 5, 10, 20, 60, 120, 360, 720, 1440, 10080].map((m) => m * MINUTE); // of one bar

const sum = (list, get) => list.reduce((n, x) => n + (get(x) || 0), 0);
const nodesOf = (n = {}) => [n.preparing && `${n.preparing} preparing`, n.pending && `${n.pending} to approve`, n.gone && `${n.gone} gone`].filter(Boolean).join(', ');

// A market is called by its name where it has one besides its address, which is then said below.
const nameOf = (m) => m.name || m.address;
const about = (m) => [nameOf(m) !== m.address && el('code', {}, m.address), nameOf(m) !== m.address && ' ', m.description];

const signedOut = () => (token() ? null : el('p', { class: 'panel note', 'data-key': 'signin' },
  'Jobs and nodes are shown to those who have a token. ', el('a', { href: '#/signin' }, 'Sign in')));

function card(m) {
  return el('li', { class: 'card', 'data-key': m.address },
    el('h2', {}, link('market', m.address, nameOf(m))), el('p', { class: 'soft' }, about(m)),
    el('dl', { class: 'numbers' }, [['queued', m.queue?.queued], ['running', m.queue?.running], ['nodes ready', m.nodes?.ready]]
      .map(([name, n]) => el('div', {}, el('dt', {}, name), el('dd', {}, count(n))))),
    el('p', { class: 'soft' }, nodesOf(m.nodes)));
}

export async function overview({ signal }) {
  const { list: markets, more } = await page(MARKETS, 'markets', { limit: PAGE }, { signal });
  const toApprove = sum(markets, (m) => m.nodes?.pending);
  const jobs = token() && markets.length ? (await page(JOBS, 'jobs', { limit: 10 }, { signal })).list : [];
  return { name: 'Markets', content: [
    title('Markets', { below: markets.length ? 'Queues of jobs, each for one class of machine' : null }),
    markets.length > 1 && tiles([['Queued', count(sum(markets, (m) => m.queue?.queued))], ['Running', count(sum(markets, (m) => m.queue?.running))],
      ['Nodes ready', count(sum(markets, (m) => m.nodes?.ready))], ...(toApprove ? [['To approve', el('a', { href: '#/nodes' }, count(toApprove))]] : [])]),
    markets.length ? el('ul', { class: 'cards', 'data-key': 'cards' }, markets.map(card))
      : el('div', { class: 'panel', 'data-key': 'none' }, el('p', {}, 'There is no market yet. An operator makes one:'), commands('berth market create nvidia-3090')),
    more && el('p', { class: 'soft' }, `Only the first ${PAGE} markets are shown.`),
    jobs.length ? panel('jobs', 'Newest jobs', jobTable('Newest jobs', jobs, { market: true })) : null,
    signedOut()] };
}

// --- how it has been going ---

// The last jobs that ended, the newest end first. Where many wait, the newest jobs are not among them.
async function pastOf(address, recent, options) {
  let past = recent.list.filter((j) => isEnded(j.state));
  if (recent.more && past.length < SHOWN) {
    const lists = await Promise.all(STATES.filter(isEnded).map((s) => page(JOBS, 'jobs', { market: address, state: s, limit: SHOWN }, options)));
    past = lists.flatMap((l) => l.list);
  }
  return past.sort((a, b) => b.finished_ms - a.finished_ms);
}

function throughput(past) {
  const done = past.filter((j) => j.finished_ms);
  if (!done.length) return null;
  const first = Math.min(...done.map((j) => j.finished_ms));
  const span = SPANS.find((s) => s * BARS >= now() - first) || SPANS.at(-1);
  const begin = Math.floor(now() / span) * span - (BARS - 1) * span;
  const points = Array.from({ length: BARS }, (_, i) => ({ label: span < 1440 * MINUTE ? hour(begin + i * span) : new Date(begin + i * span).toLocaleDateString(), values: [0, 0] }));
  for (const j of done) {
    const i = Math.floor((j.finished_ms - begin) / span);
    if (i >= 0) points[Math.min(i, BARS - 1)].values[j.state === 'succeeded' ? 0 : 1]++;
  }
  return chart('throughput', 'Throughput', { of: 'From', note: `The last ${done.length === 1 ? 'job' : `${done.length} jobs`} that ended, each bar ${duration(span)}`, points,
    kinds: [['good', 'succeeded'], ['bad', 'other ends']], ends: [points[0].label, 'now'] });
}

// Where the inputs of ended jobs came from, by their run records. An ended job's does not change.
const records = new Map();
async function inputsOf(job, options) {
  const { executions } = await call(at(JOBS, job.id, '/executions'), options).catch((e) => {
    if (e instanceof ApiError && !e.passing) return {}; // its time to be kept is over
    throw e;
  });
  const inputs = (executions || []).flatMap((e) => e.record?.inputs || []);
  const cached = sum(inputs, (i) => i.bytes_cached);
  return { cached, fetched: Math.max(0, sum(inputs, (i) => i.bytes) - cached) };
}

async function hitRate(past, options) {
  const last = past.slice(0, RECORDS);
  const unknown = last.filter((j) => !records.has(j.id));
  for (let i = 0; i < unknown.length; i += RECORDS_AT_ONCE)
    await Promise.all(unknown.slice(i, i + RECORDS_AT_ONCE).map(async (j) => records.set(j.id, await inputsOf(j, options))));
  for (const id of records.keys()) if (records.size > 10 * RECORDS && !last.some((j) => j.id === id)) records.delete(id);
  const points = last.map((j) => ({ ...records.get(j.id), label: `${shortId(j.id)} ${j.name || ''}` })).filter((p) => p.cached + p.fetched > 0).reverse()
    .map((p) => ({ label: p.label, values: [p.cached, p.fetched] }));
  if (!points.length) return null;
  const cached = sum(points, (p) => p.values[0]);
  return chart('hits', 'Cache hits', { of: 'Job', note: `${percent(cached, cached + sum(points, (p) => p.values[1]))} of the last ${points.length === 1 ? 'job’s inputs was' : `${points.length} jobs’ inputs were`} there already`, points,
    kinds: [['cached', 'from the cache'], ['fetched', 'fetched']], format: bytes, ends: ['older', 'newest'] });
}

// --- who holds what ---

// Lists leave out what nodes hold: it is asked node by node, and not at every refresh.
async function holdings(nodes, memory, options) {
  if (memory.holdings && now() - memory.holdings.at < HOLDS_MS) return memory.holdings.list;
  const live = nodes.filter((n) => n.live);
  const asked = live.slice(0, HOLDERS);
  const held = new Map();
  for (const one of await Promise.all(asked.map((n) => call(at(NODES, n.id), options).catch(() => ({}))))) {
    for (const h of one.node?.holds || []) {
      const entry = held.get(h.key) || { key: h.key, bytes: 0, nodes: [] };
      entry.bytes = Math.max(entry.bytes, h.bytes || 0);
      entry.nodes.push(one.node);
      held.set(h.key, entry);
    }
  }
  const list = { live: live.length, asked: asked.length, entries: [...held.values()].sort((a, b) => b.nodes.length - a.nodes.length || b.bytes - a.bytes) };
  memory.holdings = { at: now(), list };
  return list;
}

function holders({ live, asked, entries }, names) {
  if (!entries.length) return null;
  const chips = (list) => [list.slice(0, CHIPS).map((n) => [link('node', n.id, n.name || n.id), ' ']), list.length > CHIPS && `and ${list.length - CHIPS} more`];
  return panel('holders', 'Who holds what',
    table('Inputs in the caches of this market’s nodes', [['Input', (h) => holdName(names, h.key), 'first'], ['Size', (h) => bytes(h.bytes), 'n'],
      ['Nodes', (h) => `${h.nodes.length} of ${asked}`, 'n'], ['Held by', (h) => chips(h.nodes)]],
    entries.slice(0, HOLDS_SHOWN), { key: (h) => h.key }),
    entries.length > HOLDS_SHOWN && el('p', { class: 'soft' }, `The ${HOLDS_SHOWN} most widely held of ${entries.length} are shown.`),
    live > asked && el('p', { class: 'soft' }, `${asked} of ${live} nodes were asked.`));
}

// --- one market ---

function required(r) {
  const rows = [...(r.required_images || []).map((i) => ['image', i]), ...(r.required_remote_resources || []).map((x) => [x.type || 'input', resourceName(x)])];
  return panel('required', 'Every node holds', rows.length ? el('ul', { class: 'plain' }, rows.map(([kind, text]) => el('li', {}, el('span', { class: 'soft' }, `${kind} `), el('span', { class: 'name' }, text))))
    : nothing('Nothing in particular: any node of this market may take jobs at once.'));
}

const settings = (m) => panel('settings', 'Settings', facts([['attempts of a job', count(m.max_attempts)], ['jobs that may wait', count(m.max_queued)], ['jobs of one poster that may wait or run', count(m.max_per_poster)],
  ['ended jobs are kept', duration(m.retention_ms)], ['log of an execution', `at most ${bytes(m.max_log_bytes)}`], ['head start of nodes that hold the inputs', `at most ${duration(m.locality_window_ms)}`]]));

export async function underWay(market, options) {
  const lists = await Promise.all(HELD.map((s) => page(JOBS, 'jobs', { market, state: s, limit: SHOWN }, options)));
  return { list: lists.flatMap((l) => l.list), more: lists.some((l) => l.more) };
}

// How far the inputs of the jobs are that fetch them now: {job: {done, total, cached}}.
async function stagingOf(jobs, options) {
  const asked = jobs.filter((j) => j.state === 'staging').slice(0, STAGING);
  const answers = await Promise.all(asked.map((j) => call(at(JOBS, j.id, '/executions'), options).catch(() => ({}))));
  return new Map(asked.map((j, i) => {
    const inputs = (answers[i].executions || []).flatMap((e) => e.progress?.inputs || []);
    return [j.id, { done: sum(inputs, (x) => x.bytes_done), total: sum(inputs, (x) => x.bytes_total), cached: sum(inputs, (x) => x.bytes_cached) }];
  }));
}

const inputsColumn = (staging) => ['Inputs', (j) => {
  const p = staging.get(j.id);
  if (!p) return ['running', 'publishing'].includes(j.state) ? 'ready' : DASH;
  return el('div', { class: 'usage' }, el('span', {}, `${bytes(p.done)} of ${bytes(p.total)}`), meter(p.done, p.total, `inputs of ${j.name || j.id}`, { cached: p.cached }));
}];

async function queueOf(address, market, options) {
  const none = { list: [], more: '' };
  const [waiting, going] = await Promise.all([
    market.queue?.queued ? page(JOBS, 'jobs', { market: address, state: 'queued', order_by: 'priority', limit: SHOWN }, options) : none,
    market.queue?.running ? underWay(address, options) : none]);
  return { waiting, going };
}

const noNodes = (address) => [nothing('No node has joined. On a machine that is to:'),
  commands(`berth node start --server ${location.origin} --market ${address} --token-file join.token`),
  el('p', { class: 'soft after' }, 'An operator makes the token: ', el('code', {}, `berth token create --role join --market ${address} --out join.token`))];
const noJobs = (address) => [nothing('No job waits.'), commands(`berth job post --file job.json --market ${address} --follow`)];

const all = (address, state) => el('p', {}, el('a', { href: `#/jobs?${new URLSearchParams({ market: address, ...(state && { state }) })}` }, 'All of them'));

export async function market({ params: [address], signal, memory }) {
  const options = { signal };
  const [{ market: m }, needs] = await Promise.all([call(at(MARKETS, address), options), call(at(MARKETS, address, '/required-resources'), options)]);
  const head = [title(nameOf({ ...m, address }), { up: el('a', { href: '#/' }, 'Markets'), below: about({ ...m, address }) }),
    tiles([['Queued', count(m.queue?.queued)], ['Under way', count(m.queue?.running)], ['Nodes ready', count(m.nodes?.ready), nodesOf(m.nodes)]])];
  const tail = el('div', { class: 'two', 'data-key': 'tail' }, required(needs), settings(m));
  if (!token()) return { name: address, content: [...head, signedOut(), tail] };
  const [{ waiting, going }, recent, nodes] = await Promise.all([queueOf(address, m, options),
    page(JOBS, 'jobs', { market: address, limit: RECENT }, options), page(NODES, 'nodes', { market: address, limit: PAGE }, options)]);
  const past = await pastOf(address, recent, options);
  const [held, hits, staging] = await Promise.all([holdings(nodes.list, memory, options), hitRate(past, options), stagingOf(going.list, options)]);
  const names = await holdNames([...waiting.list, ...going.list, ...recent.list, ...past], needs);
  return { name: address, content: [...head,
    el('div', { class: 'two', 'data-key': 'charts' }, throughput(past), hits),
    recent.list.length ? panel('going', 'Under way', jobTable('Under way', going.list, { more: [inputsColumn(staging)], empty: 'No job is under way.' }), going.more && all(address)) : null,
    panel('waiting', 'Queue', recent.list.length ? jobTable('Queue', waiting.list, { node: false, empty: 'No job waits.' }) : noJobs(address), waiting.more && all(address, 'queued')),
    panel('nodes', 'Nodes', nodes.list.length ? nodeTable('Nodes of this market', nodes.list) : noNodes(address), nodes.more && el('p', { class: 'soft' }, `The first ${PAGE} are shown.`)),
    holders(held, names),
    past.length ? panel('history', 'History', jobTable('Ended jobs', past.slice(0, SHOWN), { times: 'ended' }), (recent.more || past.length > SHOWN) && all(address)) : null,
    tail] };
}
