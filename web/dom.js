// Elements without a framework. Text is always text: nothing that a server sent is ever parsed as HTML.
const SVG = 'http://www.w3.org/2000/svg';

function build(node, attributes, children) {
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    node.setAttribute(key, value === true ? '' : value);
  }
  node.append(...children.flat(Infinity).filter((c) => c !== null && c !== undefined && c !== false && c !== ''));
  return node;
}

export const el = (name, attributes = {}, ...children) => build(document.createElement(name), attributes, children);
export const svg = (name, attributes = {}, ...children) => build(document.createElementNS(SVG, name), attributes, children);

const keyOf = (node) => (node.nodeType === Node.ELEMENT_NODE ? node.getAttribute('data-key') : null);
const alike = (a, b) => a.nodeName === b.nodeName && keyOf(a) === keyOf(b);
// What the reader changes, not the server: whether a <details> is open.
const OWNED = { DETAILS: ['open'] };

function morphAttributes(old, fresh) {
  const owned = OWNED[old.nodeName] || [];
  for (const { name } of [...old.attributes]) if (!fresh.hasAttribute(name) && !owned.includes(name)) old.removeAttribute(name);
  for (const { name, value } of fresh.attributes) if (old.getAttribute(name) !== value && !owned.includes(name)) old.setAttribute(name, value);
}

function morphNode(old, fresh) {
  if (old.nodeType !== Node.ELEMENT_NODE) {
    if (old.nodeValue !== fresh.nodeValue) old.nodeValue = fresh.nodeValue;
    return;
  }
  if (old.hasAttribute('data-keep')) return;
  morphAttributes(old, fresh);
  morph(old, [...fresh.childNodes]);
}

function drop(node) {
  const next = node.nextSibling;
  node.remove();
  return next;
}

// Make the children of `parent` what `fresh` says by changing as little as can be, so that focus, selected text, scroll
// positions and what was typed survive a refresh. Elements with the same data-key are the same thing wherever they move;
// elements with data-keep look after themselves.
export function morph(parent, fresh) {
  const wanted = new Set(fresh.map(keyOf).filter(Boolean));
  const keyed = new Map();
  for (const child of [...parent.childNodes]) {
    const key = keyOf(child);
    if (key && (!wanted.has(key) || keyed.has(key))) child.remove();
    else if (key) keyed.set(key, child);
  }
  let at = parent.firstChild;
  for (const node of fresh) {
    const key = keyOf(node);
    while (!key && at && keyOf(at)) at = at.nextSibling;
    let old = key ? keyed.get(key) : at;
    if (old && !alike(old, node)) old = null;
    if (!old) {
      parent.insertBefore(node, at);
      continue;
    }
    morphNode(old, node);
    while (key && at && at !== old && !keyOf(at)) at = drop(at);
    if (old === at) at = at.nextSibling;
    else parent.insertBefore(old, at);
    if (key) keyed.delete(key);
  }
  while (at) at = drop(at);
}
