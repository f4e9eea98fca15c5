// The REST API, with the token that this tab was given. It is kept for the tab's life only.
const KEY = 'berth-token';

export const token = () => sessionStorage.getItem(KEY) || '';
export const setToken = (text) => (text ? sessionStorage.setItem(KEY, text) : sessionStorage.removeItem(KEY));

function headers(more = {}) {
  return token() ? { Authorization: `Bearer ${token()}`, ...more } : more;
}

export class ApiError extends Error {
  constructor(status, error) {
    super(error?.message || `HTTP ${status}`);
    this.status = status;
    this.hint = error?.hint || '';
  }
}

export async function call(path, options = {}) {
  const answer = await fetch(path, { ...options, headers: headers(options.headers) });
  const body = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new ApiError(answer.status, body.error);
  return body;
}

export async function all(path, things, most = 500) {
  const list = [];
  let next = '';
  do {
    const page = await call(path + (next ? `${path.includes('?') ? '&' : '?'}next_token=${encodeURIComponent(next)}` : ''));
    list.push(...page[things]);
    next = page.next_token || '';
  } while (next && list.length < most);
  return list.slice(0, most);
}

// Server-sent events by fetch(), since EventSource can send no token. Ends with the signal or the server's "end".
export async function events(path, signal, each) {
  let last = '';
  for (;;) {
    try {
      const answer = await fetch(path, { signal, headers: headers(last ? { 'Last-Event-ID': last } : {}) });
      if (!answer.ok) throw new ApiError(answer.status, (await answer.json().catch(() => ({}))).error);
      const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
      let text = '';
      for (;;) {
        const { value, done } = await reader.read();
        if (done) break;
        text += value;
        for (let cut = text.indexOf('\n\n'); cut >= 0; cut = text.indexOf('\n\n')) {
          const fields = Object.fromEntries(text.slice(0, cut).split('\n').filter((l) => l && l[0] !== ':').map((l) => {
            const at = l.indexOf(':');
            return [l.slice(0, at), l.slice(at + 1).trim()];
          }));
          text = text.slice(cut + 2);
          if (fields.id) last = fields.id;
          if (!fields.data) continue;
          each(fields.event || 'message', JSON.parse(fields.data));
          if (fields.event === 'end') return;
        }
      }
    } catch (e) {
      if (signal.aborted) return;
      if (e instanceof ApiError && e.status < 500) throw e;
    }
    await new Promise((done) => setTimeout(done, 1000));
    if (signal.aborted) return;
  }
}
