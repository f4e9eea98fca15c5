// The log of one execution, as it is written. It looks after itself: refreshes of the page leave it alone.
import { at, events, JOBS } from './api.js';
import { el } from './dom.js';
import { bytes } from './format.js';

const KEPT = 500000; // characters on screen; what is older goes
const NEAR = 24;     // pixels from the end that still count as the end
const ESCAPES = /\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-_])/g; // ECMA-48; colours of terminals

const decode = (data) => Uint8Array.from(atob(data), (c) => c.charCodeAt(0));
const UNFINISHED = /(?:\r|\x1b(?:\[[0-?]{0,32}[ -/]{0,4})?)$/; // the rest comes with the next piece
const plain = (text) => text.replace(ESCAPES, '').replace(/\r\n?/g, '\n');

// What stands for the log in the refreshes that leave it alone.
export const logPlace = (index, ...content) => el('div', { 'data-keep': '', 'data-key': `log-${index}` }, ...content);

export function logView(id, index, signal, onState) {
  const where = el('span', { class: 'soft' }, 'connecting …');
  const follow = el('input', { type: 'checkbox', checked: true });
  const errors = el('input', { type: 'checkbox' });
  const cut = el('p', { class: 'soft', hidden: true }, 'Earlier lines are not shown: ', el('code', {}, `berth job logs ${id}${index ? ` --index ${index}` : ''}`), ' has them all.');
  const pre = el('pre', { class: 'log', tabindex: 0, role: 'log', 'aria-live': 'off', 'aria-label': 'Log' });
  let chars = 0;
  let attempt = 0;
  let streams = {};
  let due = false;
  let top = 0;

  const settle = () => {
    due = false;
    if (!follow.checked) return;
    pre.scrollTop = pre.scrollHeight;
    top = pre.scrollTop; // whoever scrolls up before the event of this is seen to
  };
  const shorten = () => {
    const high = follow.checked ? 0 : pre.scrollHeight;
    chars -= pre.firstChild.textContent.length;
    pre.firstChild.remove();
    if (high) pre.scrollTop -= high - pre.scrollHeight; // what is being read stays where it is
  };
  const add = (text, kind) => {
    if (!text) return;
    const last = pre.lastChild;
    if (last && last.className === kind && last.firstChild.length < 16384) last.firstChild.appendData(text);
    else pre.append(el('span', { class: kind }, text));
    for (chars += text.length; chars > KEPT && pre.firstChild !== pre.lastChild; cut.hidden = false) shorten();
    if (!due) requestAnimationFrame(settle);
    due = true;
  };
  const begin = (data) => {
    if (data.attempt === attempt) return;
    if (attempt) add(`\n── attempt ${data.attempt} ──\n`, 'notice');
    attempt = data.attempt;
    streams = { 1: { decoder: new TextDecoder(), rest: '' }, 2: { decoder: new TextDecoder(), rest: '' } };
  };
  const take = {
    log(data) {
      begin(data);
      const from = streams[data.stream];
      if (!from) return;
      const text = from.rest + from.decoder.decode(decode(data.data), { stream: true });
      from.rest = UNFINISHED.exec(text)?.[0] || '';
      add(plain(text.slice(0, text.length - from.rest.length)), data.stream === 2 ? 'stderr' : 'stdout');
    },
    gap(data) {
      begin(data);
      add(`\n── ${bytes(data.bytes)} of the log were not kept ──\n`, 'notice');
    },
    state: onState,
    end() {
      where.textContent = 'ended';
      if (!pre.firstChild) add('Nothing was written.', 'notice');
    },
  };
  pre.addEventListener('scroll', () => { // up: to read; down to the end: to follow again
    if (pre.scrollTop + pre.clientHeight >= pre.scrollHeight - NEAR) follow.checked = true;
    else if (pre.scrollTop < top) follow.checked = false;
    top = pre.scrollTop;
  });
  follow.addEventListener('change', settle);
  new ResizeObserver(settle).observe(pre); // also when it comes onto the page with lines in it
  errors.addEventListener('change', () => pre.classList.toggle('only-errors', errors.checked));
  events(at(JOBS, id, `/logs?${new URLSearchParams({ index, follow: 1 })}`), signal, (name, data) => take[name]?.(data),
    (up) => { where.textContent = up ? 'live' : 'interrupted; comes again …'; })
    .catch((e) => { where.textContent = e.message; });
  return logPlace(index,
    el('div', { class: 'bar' }, where, el('label', {}, follow, ' stay at the end'), el('label', {}, errors, ' only stderr')), cut, pre);
}
