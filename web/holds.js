// Names for what nodes hold. They report it by a hash (a holds key, docs/api.md), so that nobody reads from it what others
// work on. Of what one sees anyway, jobs' inputs and a market's required resources, the same hashes are made here.
import { el } from './dom.js';

const KNOWN_MAX = 5000;
const known = new Map(); // text => hash

async function hash(text) {
  if (!known.has(text)) {
    if (known.size >= KNOWN_MAX) known.clear();
    const digest = await crypto.subtle.digest('SHA-256', new TextEncoder().encode(text));
    known.set(text, [...new Uint8Array(digest)].map((b) => b.toString(16).padStart(2, '0')).join(''));
  }
  return known.get(text);
}

// "s3://bucket/key" as a prefix or a single object, or an endpoint's URL.
const textsOfS3 = (place, files = '') => (place.startsWith('s3://') ? [place.slice(4), `${place.slice(4)}!`] : [place]).map((p) => `s3|${p}||${files}|`);
const filesOf = (r) => [...(r.files || [])].sort().map((f) => `${f}\n`).join('');

function textsOfResource(r) {
  const files = filesOf(r);
  if (r.type === 'HF') return [`huggingface|${r.repo}|${r.revision || 'main'}|${files}`];
  if (r.type === 'Ollama') return [`ollama|${r.model}`];
  return textsOfS3(String(r.url).split('?')[0], files);
}

// An input is shown as "s3://bucket/key → /target": what else it says is not shown, so only whole ones get their names.
function textsOfInput(label) {
  const [place] = label.split(' → ');
  const [, scheme, rest] = /^([a-z0-9]+):\/\/(.*)$/.exec(place) || [];
  if (scheme === 's3') return textsOfS3(place);
  if (scheme === 'hf') return [`huggingface|${rest}|main|`];
  if (scheme === 'ollama') return [`ollama|${rest}`];
  return scheme === 'http' || scheme === 'https' ? [`url|${place}`, `s3PreSigned|${place}`, ...textsOfS3(place)] : [];
}

export const resourceName = (r) => `${r.url || r.repo || r.model || r.bucket || ''}${r.revision ? ` at ${r.revision}` : ''}${r.files?.length ? ` (${r.files.length} files)` : ''}`;

// Hash => name. Browsers hash only where the page came over TLS or from this machine; elsewhere nothing has a name.
export async function holdNames(jobs, required = {}) {
  const names = new Map();
  if (!globalThis.crypto?.subtle) return names;
  const add = async (texts, name) => { for (const text of texts) names.set(await hash(text), name); };
  for (const label of new Set(jobs.flatMap((j) => j.inputs || []))) await add(textsOfInput(String(label)), String(label).split(' → ')[0]);
  for (const r of required.required_remote_resources || []) await add(textsOfResource(r), resourceName(r));
  return names;
}

export const holdName = (names, key) => (names.has(key) ? el('span', { class: 'name' }, names.get(key))
  : el('span', { title: 'Nothing that is shown here goes by this hash' }, el('code', {}, String(key).slice(0, 16)), '…'));
