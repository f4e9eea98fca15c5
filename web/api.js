// The REST API (docs/api.md), with the token that this tab was given. It is kept for the tab's life only.
const KEY = 'berth-token';
export const JOBS = '/api/v1/orchestrator/jobs';
export const NODES = '/api/v1/orchestrator/nodes';
export const MARKETS = '/api/markets';

const EVENT_MAX = 4 << 20; // characters of one server-sent event
const RETRY_MS = 1000;
const RETRY_MAX_MS = 15000;
const SKEW_MS = 2000; // the Date header counts whole seconds

export const token = () => sessionStorage.getItem(KEY) || '';
export function setToken(text) {
  if (text) sessionStorage.setItem(KEY, text);
  else sessionStorage.removeItem(KEY);
}

// The server's clock: its times are compared with it, not with a laptop's that is minutes off.
let skew = 0;
export const now = () => Date.now() + skew;

export class ApiError extends Error {
  constructor(status, error) {
    super(error?.message || `The server answered with HTTP ${status}.`);
    this.status = status;
    this.hint = error?.hint || '';
  }

  // Asking again may help: the server is busy, restarting, or told this client to slow down.
  get passing() {
    return this.status === 429 || this.status >= 500;
  }
}

export class Unreachable extends Error {
  constructor() {
    super('The server does not answer.');
  }
}

async function request(path, { headers, ...options } = {}) {
  const all = { ...(token() && { Authorization: `Bearer ${token()}` }), ...headers };
  const answer = await fetch(path, { ...options, cache: 'no-store', headers: all }).catch((e) => {
    throw options.signal?.aborted ? e : new Unreachable();
  });
  const off = Date.parse(answer.headers.get('Date')) - Date.now();
  if (Number.isFinite(off)) skew = Math.abs(off) > SKEW_MS ? off : 0;
  if (!answer.ok) throw new ApiError(answer.status, (await answer.json().catch(() => ({}))).error);
  return answer;
}

export async function call(path, options) {
  const answer = await request(path, options);
  return answer.json().catch((e) => {
    throw options?.signal?.aborted ? e : new ApiError(502, { message: 'What answered is no berth server.' });
  });
}

export const put = (path, body) => call(path, { method: 'PUT', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(body) });
export const at = (base, id, more = '') => `${base}/${encodeURIComponent(id)}${more}`;

// One page of a list; whatever is no list is an empty one. `more`: where the next page begins.
export async function page(path, things, query = {}, options = {}) {
  const given = Object.entries(query).filter(([, v]) => v !== undefined && v !== null && v !== '');
  const answer = await call(`${path}?${new URLSearchParams(given)}`, options);
  return { list: Array.isArray(answer[things]) ? answer[things] : [], more: answer.next_token || '' };
}

function parseEvent(block) {
  const event = { name: 'message', id: '', data: '' };
  for (const line of block.split('\n')) {
    const colon = line.indexOf(':');
    const [field, value] = colon < 0 ? [line, ''] : [line.slice(0, colon), line.slice(colon + 1).replace(/^ /, '')];
    if (field === 'event') event.name = value;
    else if (field === 'id') event.id = value;
    else if (field === 'data') event.data += value;
  }
  return event;
}

// Calls `each` with the events of one answer; true: the server said that it was the end.
async function readEvents(answer, each) {
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  for (let text = ''; ;) {
    const { value, done } = await reader.read();
    if (done) return false;
    text += value;
    for (let cut = text.indexOf('\n\n'); cut >= 0; cut = text.indexOf('\n\n')) {
      const event = parseEvent(text.slice(0, cut));
      text = text.slice(cut + 2);
      if (event.data) each(event.name, JSON.parse(event.data), event.id);
      if (event.name === 'end') return true;
    }
    if (text.length > EVENT_MAX) throw new Error('The server sent an event that is too large.');
  }
}

const shown = (signal) => new Promise((done) => {
  if (!document.hidden) done();
  document.addEventListener('visibilitychange', () => document.hidden || done(), { signal });
  signal.addEventListener('abort', done, { once: true });
});

const pause = (ms, signal) => new Promise((done) => {
  const timer = setTimeout(done, ms);
  signal.addEventListener('abort', () => { clearTimeout(timer); done(); }, { once: true });
});

// Server-sent events by fetch(), since EventSource can send no token. Comes again where it was cut off, until the
// server's "end" or the signal. `link` hears whether the stream stands. A tab that nobody sees has none: browsers open only
// a few connections to a server, and a handful of forgotten tabs would take them all.
export async function events(path, signal, each, link) {
  let last = '';
  let wait = RETRY_MS;
  while (!signal.aborted) {
    const hidden = new AbortController();
    const hide = () => document.hidden && hidden.abort();
    document.addEventListener('visibilitychange', hide);
    try {
      await shown(signal);
      const answer = await request(path, { signal: AbortSignal.any([signal, hidden.signal]), headers: last ? { 'Last-Event-ID': last } : {} });
      link(true);
      const ended = await readEvents(answer, (name, data, id) => {
        if (id) last = id;
        wait = RETRY_MS;
        each(name, data);
      });
      if (ended) return;
    } catch (e) {
      if (!signal.aborted && e instanceof ApiError && !e.passing) throw e;
    } finally {
      document.removeEventListener('visibilitychange', hide);
    }
    if (signal.aborted) return;
    link(false);
    await pause(wait, signal);
    wait = Math.min(wait * 2, RETRY_MAX_MS);
  }
}
