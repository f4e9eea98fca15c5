// Where what is shown, and the clock that keeps it fresh.
import { ApiError, setToken, token, Unreachable } from './api.js';
import { el, morph } from './dom.js';
import { job, stopJob } from './job.js';
import { jobs } from './jobs.js';
import { market, overview } from './markets.js';
import { node, nodeAction, nodes } from './nodes.js';
import { title } from './parts.js';

const REFRESH_MS = 3000;
const HIDDEN_MS = 15000; // while nobody looks
const REFRESH_MAX_MS = 30000;

const byId = (id) => document.getElementById(id);
const main = byId('main');
const routes = [
  [/^\/$/, overview], [/^\/market\/([^/]+)$/, market], [/^\/jobs$/, jobs], [/^\/job\/([^/]+)(?:\/(\d+))?$/, job],
  [/^\/nodes$/, nodes], [/^\/node\/([^/]+)$/, node], [/^\/signin$/, () => ({ name: 'Sign in', fresh: false, content: signIn('Sign in') })],
];
const actions = { stop: stopJob, node: nodeAction };
let visit = { stop() {}, refresh() {} };

function signIn(heading, why) {
  return [title(heading), el('form', { class: 'panel signin', 'data-key': 'signin', 'data-submit': 'signin' },
    el('p', {}, why || 'A token says who you are. It is kept until this tab is closed, and sent to this server only.'),
    el('label', { for: 'token' }, 'Token'),
    el('input', { id: 'token', name: 'token', type: 'password', autocomplete: 'off', spellcheck: 'false', required: true, pattern: '\\s*[!-~]+\\s*', title: 'a token, as it was given to you', placeholder: 'berth_…' }),
    el('button', { class: 'main' }, 'Sign in'),
    el('p', { class: 'soft' }, 'The operator’s first token lies in the file that ', el('code', {}, 'berth serve'), ' named when it started; others are made with ', el('code', {}, 'berth token create'), '.'))];
}

function explain(e) {
  if (e instanceof ApiError && e.status === 401) return signIn('This needs a token', token() ? 'The server does not know this token, or it was revoked.' : '');
  return [title('That did not work'), el('div', { class: 'panel', 'data-key': 'error' }, el('p', {}, e.message), e.hint && el('p', { class: 'soft' }, e.hint),
    el('p', {}, el('a', { href: '#/' }, 'All markets')))];
}

// --- the page around ---

function tell(where, text) {
  if (where.textContent !== text) where.textContent = text;
}

function drawSession() {
  morph(byId('session'), [token() ? el('button', { 'data-action': 'signout' }, 'Sign out') : el('a', { href: '#/signin' }, 'Sign in')]);
}

function drawNav(path) {
  for (const a of byId('nav').children) {
    const here = a.getAttribute('href').slice(1);
    const current = path === here || (here === '/' ? path.startsWith('/market/') : path.startsWith(`${here.slice(0, -1)}/`));
    if (current) a.setAttribute('aria-current', path === here ? 'page' : 'true');
    else a.removeAttribute('aria-current');
  }
}

// Focus goes with what it was on, even where that had to move; where it is gone, back to the beginning.
function draw(content) {
  const focus = document.activeElement;
  const inside = main.contains(focus);
  morph(main, content.flat(Infinity).filter(Boolean));
  if (focus === document.activeElement || !inside) return;
  (main.contains(focus) ? focus : main.querySelector('h1'))?.focus({ preventScroll: true });
}

function decoded(text) {
  try {
    return text && decodeURIComponent(text);
  } catch {
    return null;
  }
}

// --- a visit of a page: from its address until the next one ---

function go() {
  visit.stop();
  const [path, search = ''] = (location.hash.slice(1) || '/').split('?');
  const abort = new AbortController();
  const memory = {};
  let timer = 0;
  let first = true;
  let busy = false;
  let again = false;
  let failures = 0;
  let news = '';
  let pace = 1; // pages that are costly ask less often

  const later = (ms) => { timer = setTimeout(work, ms); };
  const arrive = (name) => {
    document.title = `${name} – berth`;
    if (!first) return;
    first = false;
    window.scrollTo(0, 0);
    (main.querySelector('input[required]') || main.querySelector('h1'))?.focus({ preventScroll: true });
  };
  const show = (view) => {
    draw(view.content);
    arrive(view.name);
    if (view.news && news && view.news !== news) tell(byId('news'), view.news);
    news = view.news || '';
    pace = view.pace || 1;
    return view.fresh !== false;
  };
  const fail = (e) => {
    failures++;
    if (e instanceof ApiError && !e.passing) {
      draw(explain(e));
      arrive('That did not work');
      return false;
    }
    if (first) draw(explain(e));
    if (!(e instanceof ApiError || e instanceof Unreachable)) console.error(e); // eslint-disable-line no-console
    tell(byId('status'), `${e.message} Trying again …`);
    return true;
  };
  async function attempt() {
    const [match, view] = routes.map(([pattern, one]) => [pattern.exec(path), one]).find(([m]) => m) || [];
    const params = match?.slice(1).map(decoded);
    if (!match || params.includes(null)) throw new ApiError(404, { message: 'There is no such page.' });
    return view({ params, query: new URLSearchParams(search), signal: abort.signal, memory, refresh });
  }
  async function work() {
    clearTimeout(timer);
    again = busy;
    if (busy) return;
    busy = true;
    let goOn;
    try {
      const view = await attempt();
      if (abort.signal.aborted) return;
      goOn = show(view);
      failures = 0;
      tell(byId('status'), '');
    } catch (e) {
      if (abort.signal.aborted) return;
      goOn = fail(e);
    }
    busy = false;
    if (again) later(0);
    else if (goOn) later(Math.min(REFRESH_MAX_MS, (document.hidden ? HIDDEN_MS : REFRESH_MS) * pace * 2 ** Math.min(failures, 4)));
  }
  function refresh() {
    if (!abort.signal.aborted) work();
  }
  visit = { stop() { abort.abort(); clearTimeout(timer); }, refresh };
  main.replaceChildren();
  tell(byId('status'), '');
  tell(byId('news'), '');
  drawNav(path);
  drawSession();
  work();
}

// --- what people do ---

// A question in front of the page: null, or {reason}. Without `no` it only tells something.
function ask({ title: heading, text, yes, no = 'Cancel', reason = false }) {
  const dialog = byId('confirm');
  const form = dialog.querySelector('form');
  byId('confirm-title').textContent = heading;
  byId('confirm-text').textContent = text;
  byId('confirm-yes').textContent = yes;
  byId('confirm-yes').classList.toggle('danger', Boolean(no));
  byId('confirm-no').textContent = no;
  byId('confirm-no').hidden = !no;
  byId('confirm-reason').hidden = !reason;
  form.reset();
  dialog.returnValue = '';
  dialog.showModal();
  return new Promise((done) => {
    dialog.addEventListener('close', () => done(dialog.returnValue === 'yes' ? { reason: form.elements.reason.value.trim() } : null), { once: true });
  });
}

const busy = new WeakSet();
async function act(button) {
  if (busy.has(button)) return;
  busy.add(button);
  try {
    await actions[button.dataset.action](button.dataset, ask);
  } catch (e) {
    await ask({ title: 'That did not work', text: `${e.message} ${e.hint || ''}`, yes: 'Close', no: '' });
  }
  busy.delete(button);
  visit.refresh();
}

const submits = {
  async signin(data) {
    setToken(String(data.get('token')).trim());
    if (location.hash === '#/signin') location.hash = '#/';
    else go();
  },
  filter(data) {
    location.hash = `#/jobs?${new URLSearchParams([...data].filter(([, v]) => v))}`;
  },
};

document.addEventListener('click', (event) => {
  const button = event.target.closest('[data-action]');
  if (button?.dataset.action === 'signout') {
    setToken('');
    go();
  } else if (button) {
    act(button);
  }
});
document.addEventListener('submit', (event) => {
  const what = event.target.dataset.submit;
  if (!what) return;
  event.preventDefault();
  submits[what](new FormData(event.target));
});
byId('confirm-no').addEventListener('click', () => byId('confirm').close(''));
byId('skip').addEventListener('click', (event) => {
  event.preventDefault();
  main.querySelector('h1')?.focus();
});
document.addEventListener('visibilitychange', () => { if (!document.hidden) visit.refresh(); });
window.addEventListener('hashchange', go);
go();
