// Pieces that pages are made of. No inline styles: widths and heights are attributes of SVG.
import { el, svg } from './dom.js';
import { now } from './api.js';
import { ago, bytes, clock, count, DASH, duration, moment, percent, shortId, words } from './format.js';

export const HELD = ['claimed', 'staging', 'running', 'publishing'];
export const STATES = ['queued', ...HELD, 'succeeded', 'failed', 'stopped', 'timed_out', 'expired'];
const isHeld = (state) => HELD.includes(state);
export const isEnded = (state) => !isHeld(state) && state !== 'queued';

export const link = (kind, id, ...text) => el('a', { href: `#/${kind}/${encodeURIComponent(id)}` }, ...(text.length ? text : [id]));
export const jobLink = (job) => link('job', job.id, job.name || shortId(job.id));
export const state = (word) => el('span', { class: `pill ${String(word).replace(/[^a-z_]/g, '')}` }, words(word));
export const time = (at) => (at ? el('time', { datetime: new Date(at).toISOString() }, moment(at)) : DASH);
export const since = (at) => (at ? el('time', { datetime: new Date(at).toISOString(), title: moment(at) }, ago(now() - at)) : DASH);
export const mark = (text) => el('span', { class: 'soft' }, text);
export const gpus = (info) => {
  const names = new Map();
  for (const g of info?.gpus || []) {
    const name = `${g.name || 'GPU'}${g.memory_mib ? `, ${bytes(g.memory_mib * 1048576)}` : ''}`;
    names.set(name, (names.get(name) || 0) + 1);
  }
  return [...names].map(([name, n]) => (n > 1 ? `${n} × ${name}` : name)).join('; ');
};

const absent = (value) => value === null || value === undefined || value === false || value === '' || value === DASH || (Array.isArray(value) && value.every(absent));

export function title(text, { up = null, badge = null, below = null, actions = null } = {}) {
  return el('div', { class: 'title', 'data-key': 'title' },
    up && el('nav', { class: 'up', 'aria-label': 'Above' }, up),
    el('div', { class: 'head' }, el('h1', { tabindex: -1 }, text), badge, actions && el('div', { class: 'actions' }, actions)),
    !absent(below) && el('p', { class: 'soft below' }, below));
}

// `key` is the page's own word for this panel: the same panel again after a refresh.
export function panel(key, heading, ...content) {
  return el('section', { class: 'panel', 'data-key': key, 'aria-labelledby': `h-${key}` }, el('h2', { id: `h-${key}` }, heading), ...content);
}

export const tiles = (list) => el('dl', { class: 'tiles', 'data-key': 'tiles' },
  list.map(([name, value, more]) => el('div', { class: 'tile', 'data-key': name }, el('dt', {}, name), el('dd', {}, value, more && el('small', {}, more)))));

// What is not known has no line.
export const facts = (pairs) => el('dl', { class: 'facts' },
  pairs.filter(([, value]) => !absent(value)).map(([name, value]) => [el('dt', {}, name), el('dd', {}, value)]));

export const nothing = (...text) => el('p', { class: 'nothing' }, ...text);

// Commands to type, one a line.
export const commands = (...lines) => el('pre', { class: 'commands' }, lines.join('\n'));

// Which attempt, where something was tried again.
export const attemptColumn = (rows) => (rows.some((row) => row.attempt > 1) ? [['Attempt', (row) => row.attempt || null, 'n']] : []);
export const reasonColumn = (get) => ['Reason', (row) => get(row) && el('span', { class: 'reason' }, get(row)), 'why spare'];

const cell = (value, head, kind) => el('td', { class: [kind, absent(value) && 'none'].filter(Boolean).join(' ') || null, role: 'cell', 'data-head': head }, absent(value) ? !kind?.includes('why') && DASH : value);

// columns: [head, row => content, class]; `key` of a row says which one it is after a refresh. A column of the class "spare"
// is there only where a row has something in it. On small screens rows stand as blocks, each cell after its head: the
// roles keep it a table for those who listen.
export function table(caption, columns, rows, { key = null, empty = 'Nothing here yet.' } = {}) {
  if (!rows.length) return nothing(empty);
  const shown = columns.filter(([, get, kind = '']) => !kind.includes('spare') || rows.some((row) => !absent(get(row))));
  return el('div', { class: 'wide', tabindex: 0, role: 'region', 'aria-label': caption },
    el('table', { role: 'table' }, el('caption', { class: 'hidden' }, caption),
      el('thead', { role: 'rowgroup' }, el('tr', { role: 'row' }, shown.map(([head, , kind]) => el('th', { scope: 'col', role: 'columnheader', class: kind }, head)))),
      el('tbody', { role: 'rowgroup' }, rows.map((row) => el('tr', { role: 'row', 'data-key': key && key(row) }, shown.map(([head, get, kind]) => cell(get(row), head, kind)))))));
}

const rect = (kind, x, width, more = {}) => svg('rect', { class: kind, x: `${x}%`, y: 0, width: `${width}%`, height: '100%', ...more });
const part = (n, whole) => (whole > 0 && n > 0 ? Math.min(100, (100 * n) / whole) : 0);

// How far something is; `cached` of it needed no transfer.
export function meter(done, total, label, { cached = 0, kind = '', progress = true } = {}) {
  const all = part(done, total);
  const free = Math.min(all, part(cached, total));
  return svg('svg', { class: `meter ${kind}`, role: progress ? 'progressbar' : 'meter', 'aria-label': label, 'aria-valuemin': 0, 'aria-valuemax': 100, 'aria-valuenow': Math.round(all) },
    rect('track', 0, 100), rect('cached', 0, free), rect('done', free, all - free));
}

export const usage = (used, most, label) => (most > 0
  ? el('div', { class: 'usage' }, el('span', {}, `${bytes(used)} of ${bytes(most)}`), meter(used, most, label, { kind: used / most > 0.95 ? 'full' : '', progress: false }))
  : bytes(used));

const legend = (kinds) => el('ul', { class: 'legend' }, kinds.map(([kind, name]) => el('li', {}, svg('svg', { class: `swatch ${kind}`, 'aria-hidden': 'true' }, rect('', 0, 100)), name)));

// Stacked bars. kinds: [class, name]; points: {label, values: [one per kind]}; `of`: what the labels are. The same numbers
// follow as a table, for those who can't see the bars.
export function chart(key, heading, { of, note, kinds, points, format = count, ends }) {
  const most = Math.max(1, ...points.map((p) => p.values.reduce((a, b) => a + b, 0)));
  const step = 100 / Math.max(points.length, 8);
  const bars = points.map((p, i) => {
    let top = 100;
    const name = svg('title', {}, `${p.label}: ${kinds.map(([, word], k) => `${format(p.values[k])} ${word}`).join(', ')}`);
    return svg('g', {}, name, svg('rect', { class: 'hover', x: `${i * step}%`, y: 0, width: `${step}%`, height: '100%' }),
      p.values.map((value, k) => {
        const high = (100 * value) / most;
        top -= high;
        return high > 0 && svg('rect', { class: kinds[k][0], x: `${i * step + step * 0.12}%`, y: `${top}%`, width: `${step * 0.76}%`, height: `${high}%` });
      }));
  });
  const totals = kinds.map(([, word], k) => `${format(points.reduce((n, p) => n + p.values[k], 0))} ${word}`).join(', ');
  return panel(key, heading, el('p', { class: 'soft note' }, note),
    el('div', { class: 'plot' }, el('span', { class: 'most soft', 'aria-hidden': 'true' }, format(most)),
      svg('svg', { class: 'chart', role: 'img', 'aria-label': `${heading}: ${totals}` },
        [0, 50, 100].map((y) => svg('line', { x1: 0, x2: '100%', y1: `${y}%`, y2: `${y}%` })), bars)),
    el('div', { class: 'ends soft', 'aria-hidden': 'true' }, el('span', {}, ends[0]), el('span', {}, ends[1])),
    legend(kinds),
    el('details', {}, el('summary', {}, 'As a table'),
      table(heading, [[of, (p) => p.label, 'first'], ...kinds.map(([, word], k) => [word, (p) => format(p.values[k]), 'n'])], points)));
}

// The phases that one execution went through: {state, from, ms, attempt}.
export function timeline(phases, label) {
  if (!phases.length) return nothing('Nothing has happened yet.');
  const begin = phases[0].from;
  const total = phases.reduce((n, p) => n + p.ms, 0) || 1;
  let x = 0;
  const bars = phases.map((p) => {
    const width = (100 * p.ms) / total;
    const bar = svg('g', {}, svg('title', {}, `${words(p.state)}: ${duration(p.ms)}`), rect(`phase ${p.state}`, x, Math.max(width, 0.3)));
    x += width;
    return bar;
  });
  return el('figure', { class: 'timeline', 'aria-label': label },
    svg('svg', { class: 'phases', 'aria-hidden': 'true' }, rect('track', 0, 100), bars),
    el('div', { class: 'ends soft' }, el('span', {}, clock(begin)), el('span', {}, `${clock(begin + total)}, after ${duration(total)}`)),
    el('ol', { class: 'legend' }, phases.map((p) => el('li', {}, svg('svg', { class: `swatch phase ${p.state}`, 'aria-hidden': 'true' }, rect('', 0, 100)),
      el('b', {}, words(p.state)), ` ${duration(p.ms)}`, p.attempt > 1 && mark(` (attempt ${p.attempt})`)))));
}

export function jobTable(caption, jobs, { market = false, node = true, times = 'age', more = [], empty } = {}) {
  return table(caption, [
    ['Job', (j) => el('span', { class: 'name' }, jobLink(j)), 'first job'],
    ['State', (j) => state(j.state), 'state'],
    ['ID', (j) => el('code', { class: 'soft' }, shortId(j.id))],
    ...(market ? [['Market', (j) => j.market && link('market', j.market)]] : []),
    ...more,
    ...(times === 'ended'
      ? [['Ended', (j) => since(j.finished_ms)], ['Took', (j) => (j.finished_ms ? duration(j.finished_ms - j.created_ms) : DASH), 'n'], ['Exit', (j) => j.exit_code, 'n']]
      : [['Posted', (j) => since(j.created_ms)], ['Priority', (j) => j.priority || null, 'n spare']]),
    ...(node ? [['Node', (j) => j.node && link('node', j.node), 'spare']] : []),
    reasonColumn((j) => (isHeld(j.state) ? '' : j.reason)),
  ], jobs, { key: (j) => j.id, empty });
}

export function nodeState(n) {
  if (n.state === 'rejected' || n.state === 'pending') return state(n.state);
  if (!n.live) return state('gone');
  return state(n.state === 'draining' ? 'draining' : n.ready ? 'ready' : 'preparing');
}

export function nodeTable(caption, nodes, { market = false, empty } = {}) {
  return table(caption, [
    ['Node', (n) => el('span', { class: 'name' }, link('node', n.id, n.name || n.id)), 'first'],
    ['State', (n) => [nodeState(n), n.readiness && !n.ready && el('div', { class: 'soft reason' }, n.readiness)], 'state'],
    ...(market ? [['Market', (n) => n.market && link('market', n.market)]] : []),
    ['GPUs', (n) => gpus(n.info) || 'none'],
    ['Busy', (n) => el('div', { class: 'usage' }, el('span', {}, `${n.running ?? 0} of ${n.slots ?? 0}`), meter(n.running, n.slots, 'slots in use', { progress: false }))],
    ['Cache', (n) => usage(n.cache?.bytes, n.cache?.max_bytes, 'cache in use')],
    ['Disk free', (n) => Number.isFinite(n.cache?.free_bytes) && [bytes(n.cache.free_bytes), n.info?.disk_bytes > 0 && mark(` (${percent(n.cache.free_bytes, n.info.disk_bytes)})`)]],
    ['Seen', (n) => since(n.last_seen_ms)],
  ], nodes, { key: (n) => n.id, empty });
}
