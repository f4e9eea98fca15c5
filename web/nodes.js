// Nodes, and one of them.
import { at, call, JOBS, MARKETS, NODES, page, put } from './api.js';
import { el } from './dom.js';
import { bytes, count, percent } from './format.js';
import { holdName, holdNames } from './holds.js';
import { underWay } from './markets.js';
import { commands, facts, gpus, jobTable, link, nodeState, nodeTable, nothing, panel, since, table, tiles, title, usage } from './parts.js';

const LIMIT = 100;
const HOLDS_SHOWN = 200;

export async function nodes({ query, signal }) {
  const next = query.get('after') || '';
  const { list, more } = await page(NODES, 'nodes', { limit: LIMIT, next_token: next }, { signal });
  return { name: 'Nodes', content: [title('Nodes'),
    panel('list', 'Machines that take jobs', list.length ? nodeTable('Nodes', list, { market: true }) : [nothing('No node has joined. On a machine that is to:'), commands(`berth node start --server ${location.origin} --market MARKET --token-file join.token`)],
      (next || more) && el('nav', { class: 'pages', 'aria-label': 'Pages' }, next && el('a', { href: '#/nodes' }, 'First'), more && el('a', { href: `#/nodes?after=${encodeURIComponent(more)}`, rel: 'next' }, 'Next')))] };
}

const ACTIONS = {
  pending: [['approve', 'Approve'], ['reject', 'Reject']], approved: [['drain', 'Drain'], ['reject', 'Reject']],
  draining: [['undrain', 'Take jobs again'], ['reject', 'Reject']], rejected: [['approve', 'Approve']],
};
const QUESTIONS = { reject: ['Reject this node?', 'It may not work here any more; what it runs goes back to the queue.'], drain: ['Drain this node?', 'It finishes what it runs and takes nothing new.'] };

const buttons = (node) => (ACTIONS[node.state] || []).map(([action, text]) => el('button', { 'data-action': 'node', 'data-id': node.id, 'data-verb': action, 'data-key': action, class: action === 'reject' ? 'danger' : null }, text));

export async function nodeAction({ id, verb }, ask) {
  const question = QUESTIONS[verb];
  if (question && !(await ask({ title: question[0], text: question[1], yes: question[0].split(' ')[0] }))) return;
  await put(at(NODES, id), { version: 1, action: verb });
}

export async function node({ params: [id], signal }) {
  const options = { signal };
  const { node: n } = await call(at(NODES, id), options);
  const [going, recent, needs] = await Promise.all([underWay(n.market, options), page(JOBS, 'jobs', { market: n.market, limit: 100 }, options),
    call(at(MARKETS, n.market, '/required-resources'), options)].map((p) => p.catch(() => ({ list: [] }))));
  const info = n.info || {};
  const holds = [...(n.holds || [])].sort((a, b) => (b.bytes || 0) - (a.bytes || 0));
  const names = await holdNames([...going.list, ...recent.list], needs);
  return { name: n.name || n.id, content: [
    title(n.name || n.id, { up: [el('a', { href: '#/nodes' }, 'Nodes'), ' / ', link('market', n.market)], badge: nodeState(n), actions: buttons(n), below: [el('code', {}, n.id), n.readiness && ` – ${n.readiness}`] }),
    tiles([['Busy', `${n.running ?? 0} of ${n.slots ?? 0}`, 'slots'], ['Cache', bytes(n.cache?.bytes), n.cache?.max_bytes > 0 && `of ${bytes(n.cache.max_bytes)}`],
      ['Disk free', bytes(n.cache?.free_bytes), info.disk_bytes > 0 && Number.isFinite(n.cache?.free_bytes) && percent(n.cache?.free_bytes, info.disk_bytes)], ['Seen', since(n.last_seen_ms)]]),
    panel('jobs', 'Runs now', jobTable('Jobs of this node', going.list.filter((j) => j.node === n.id), { node: false, empty: 'No job that you may see.' })),
    el('div', { class: 'two', 'data-key': 'two' },
      panel('machine', 'Machine', facts([['GPUs', gpus(info) || 'none'], ['CPUs', count(info.cpus)], ['memory', bytes(info.memory_bytes)], ['disk', bytes(info.disk_bytes)],
        ['cache', usage(n.cache?.bytes, n.cache?.max_bytes, 'cache in use')], ['sent to other nodes', bytes(n.peers?.sent_bytes)], ['got from other nodes', bytes(n.peers?.got_bytes)], ['system', [info.os, info.arch].filter(Boolean).join(', ')], ['engine', info.engine], ['berth', info.version],
        ['labels', Object.entries(n.labels || {}).map(([k, v]) => `${k}=${v}`).join(' ')]])),
      panel('holds', 'In its cache', table('In its cache', [['Input', (h) => holdName(names, h.key), 'first'], ['Size', (h) => bytes(h.bytes), 'n']], holds.slice(0, HOLDS_SHOWN), { key: (h) => h.key, empty: 'It has reported nothing.' }),
        holds.length > HOLDS_SHOWN && el('p', { class: 'soft' }, `The ${HOLDS_SHOWN} largest of ${holds.length} are shown.`)))] };
}
