// Numbers, times and names as people read them. Whatever is missing is a dash.
export const DASH = '–';

const number = (n) => typeof n === 'number' && Number.isFinite(n);

export function bytes(n) {
  if (!number(n) || n < 0) return DASH;
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'];
  let i = 0;
  for (; n >= 1024 && i < units.length - 1; i++) n /= 1024;
  return `${i ? n.toFixed(n < 100 ? 1 : 0) : n} ${units[i]}`;
}

export const count = (n) => (number(n) ? n.toLocaleString() : DASH);
export const percent = (part, whole) => (number(part) && whole > 0 ? `${Math.round((100 * part) / whole)} %` : DASH);

// "3 min 5 s", "3 min"
const pair = (n, per, large, small) => `${Math.floor(n / per)} ${large}${n % per ? ` ${n % per} ${small}` : ''}`;

export function duration(ms) {
  if (!number(ms) || ms < 0) return DASH;
  if (ms < 1000) return `${Math.round(ms)} ms`;
  const s = ms / 1000;
  if (s < 59.95) return `${s.toFixed(1)} s`;
  const whole = Math.round(s);
  if (whole < 3600) return pair(whole, 60, 'min', 's');
  return whole < 86400 ? pair(Math.floor(whole / 60), 60, 'h', 'min') : pair(Math.floor(whole / 3600), 24, 'd', 'h');
}

// "4 min ago": one unit, so that a page that is read out or compared changes rarely.
export function ago(ms) {
  if (!number(ms)) return DASH;
  const s = Math.max(0, Math.round(ms / 1000));
  if (s < 5) return 'just now';
  if (s < 60) return `${s - (s % 5)} s ago`;
  if (s < 3600) return `${Math.floor(s / 60)} min ago`;
  if (s < 86400) return `${Math.floor(s / 3600)} h ago`;
  return `${Math.floor(s / 86400)} d ago`;
}

export const hour = (at) => new Date(at).toLocaleTimeString([], { hour: '2-digit', minute: '2-digit' });
export const clock = (at) => new Date(at).toLocaleTimeString([], { hour: '2-digit', minute: '2-digit', second: '2-digit' });
export const moment = (at) => new Date(at).toLocaleString([], { dateStyle: 'medium', timeStyle: 'medium' });
export const words = (text) => String(text ?? '').replaceAll('_', ' ');
export const shortId = (id) => String(id ?? '').slice(0, 10);
