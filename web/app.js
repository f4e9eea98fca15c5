// Routes, and the clock that keeps a view fresh.
import { setToken, token, ApiError } from './api.js';
import { el } from './dom.js';
import { jobView, jobsView, marketView, marketsView, nodesView, nodeView } from './views.js';

const REFRESH_MS = 3000;
const main = document.getElementById('main');
const status = document.getElementById('status');
const routes = [
  [/^#\/$/, marketsView], [/^#\/jobs$/, jobsView], [/^#\/nodes$/, nodesView],
  [/^#\/market\/([^/]+)$/, marketView], [/^#\/job\/([^/]+)$/, jobView], [/^#\/node\/([^/]+)$/, nodeView],
];
let current = { stop() {} };

function say(text, bad = false) {
  if (status.textContent !== text) status.textContent = text;
  status.classList.toggle('bad', bad);
}

function explain(e) {
  if (e instanceof ApiError && e.status === 401) return [el('h1', {}, 'This needs a token'), el('p', {}, 'Enter one above: the operator’s lies in the file that berth serve named when it started first; posters get theirs from berth token create.')];
  return [el('h1', {}, 'That did not work'), el('p', {}, e.message), e.hint ? el('p', { class: 'soft' }, e.hint) : ''];
}

function show() {
  current.stop();
  const hash = location.hash || '#/';
  const abort = new AbortController();
  let timer = 0;
  let first = true;
  const found = routes.map(([pattern, view]) => [hash.match(pattern), view]).find(([m]) => m);
  const work = async () => {
    try {
      if (!found) throw new Error('There is no such page.');
      const nodes = await found[1](...found[0].slice(1).map(decodeURIComponent), { signal: abort.signal, first, main });
      if (abort.signal.aborted) return;
      if (nodes) {
        const open = [...main.querySelectorAll('details')].map((d) => d.open);
        main.replaceChildren(...nodes);
        main.querySelectorAll('details').forEach((d, i) => { d.open = Boolean(open[i]); });
      }
      say('');
    } catch (e) {
      if (abort.signal.aborted) return;
      if (first || (e instanceof ApiError && e.status < 500)) main.replaceChildren(...explain(e));
      say(first ? '' : 'No answer; trying again…', true);
    }
    if (first) {
      first = false;
      document.title = `${main.querySelector('h1')?.textContent || 'berth'} – berth`;
      main.focus({ preventScroll: true });
    }
    timer = setTimeout(work, document.hidden ? REFRESH_MS * 5 : REFRESH_MS);
  };
  current = { stop() { abort.abort(); clearTimeout(timer); } };
  for (const a of document.querySelectorAll('nav a')) a.toggleAttribute('aria-current', a.getAttribute('href') === hash);
  work();
}

const field = document.getElementById('token');
field.value = token();
document.getElementById('token-form').addEventListener('submit', (e) => {
  e.preventDefault();
  setToken(field.value.trim());
  show();
});
window.addEventListener('hashchange', show);
show();
