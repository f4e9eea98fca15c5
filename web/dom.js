// Elements without a framework. Text is always text: nothing from a server is ever parsed as HTML.
export function el(name, attributes = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith('on')) node.addEventListener(key.slice(2), value);
    else node.setAttribute(key, value === true ? '' : value);
  }
  node.append(...children.flat(Infinity).filter((c) => c !== null && c !== undefined && c !== false));
  return node;
}

export function svg(name, attributes = {}, ...children) {
  const node = document.createElementNS('http://www.w3.org/2000/svg', name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...children);
  return node;
}

export function bytes(n) {
  if (n === null || n === undefined) return '–';
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let i = 0;
  for (; n >= 1024 && i < units.length - 1; i++) n /= 1024;
  return `${i ? n.toFixed(1) : n} ${units[i]}`;
}

export function duration(ms) {
  if (ms === null || ms === undefined || ms < 0) return '–';
  if (ms < 1000) return `${Math.round(ms)} ms`;
  const s = ms / 1000;
  if (s < 60) return `${s.toFixed(1)} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${Math.round(s % 60)} s`;
  if (s < 86400) return `${Math.floor(s / 3600)} h ${Math.round((s % 3600) / 60)} min`;
  return `${Math.floor(s / 86400)} d`;
}

export const age = (at) => (at ? duration(Date.now() - at) : '–');

export function stamp(at) {
  if (!at) return '–';
  const d = new Date(at);
  return el('time', { datetime: d.toISOString(), title: d.toISOString() }, d.toLocaleString());
}

export const state = (word) => el('span', { class: `state ${word}` }, word.replace('_', ' '));

// columns: [head, row => content, is a number]
export function table(caption, columns, rows, empty = 'none') {
  if (!rows.length) return el('p', { class: 'soft' }, `${caption}: ${empty}`);
  return el('div', { class: 'wide', tabindex: 0, role: 'region', 'aria-label': caption },
    el('table', {}, el('caption', {}, caption),
      el('thead', {}, el('tr', {}, columns.map(([head, , n]) => el('th', { scope: 'col', class: n && 'n' }, head)))),
      el('tbody', {}, rows.map((row) => el('tr', {}, columns.map(([, get, n]) => el('td', { class: n && 'n' }, get(row) ?? '–')))))));
}

export function bar(done, total, label) {
  const part = total > 0 ? Math.min(100, (100 * done) / total) : 0;
  return el('div', { class: 'bar', role: 'progressbar', 'aria-label': label, 'aria-valuemin': 0, 'aria-valuemax': 100, 'aria-valuenow': Math.round(part) },
    el('span', { style: `width:${part}%` }));
}

// Bars of numbers, with the same as a table for those who can't see it.
export function chart(title, points, unit) {
  const most = Math.max(1, ...points.map((p) => p.value));
  const step = 600 / Math.max(1, points.length);
  const picture = svg('svg', { class: 'chart', viewBox: '0 0 600 120', preserveAspectRatio: 'none', role: 'img', 'aria-label': `${title}; highest ${most} ${unit}` },
    svg('line', { x1: 0, y1: 100, x2: 600, y2: 100 }),
    ...points.map((p, i) => {
      const high = (95 * p.value) / most;
      const r = svg('rect', { x: i * step + 1, y: 100 - high, width: Math.max(1, step - 2), height: high });
      r.append(svg('title'));
      r.firstChild.textContent = `${p.label}: ${p.value} ${unit}`;
      return r;
    }));
  return el('figure', { class: 'card' }, el('figcaption', {}, title, el('span', { class: 'soft' }, ` – at most ${most} ${unit}`)), picture,
    el('details', {}, el('summary', {}, 'As a table'), table(title, [['When', (p) => p.label], [unit, (p) => p.value, true]], points)));
}
