// Jobs of all markets, with filters and pages that are part of the address.
import { JOBS, MARKETS, page } from './api.js';
import { el } from './dom.js';
import { words } from './format.js';
import { jobTable, panel, STATES, title } from './parts.js';

const LIMIT = 50;

const option = (value, text, chosen) => el('option', { value, selected: value === chosen }, text);

function filters(query, markets) {
  const chosen = (name) => query.get(name) || '';
  return el('form', { class: 'filters', 'data-key': 'filters', 'data-submit': 'filter' },
    el('label', {}, 'Market ', el('select', { name: 'market' }, option('', 'all', chosen('market')), markets.map((m) => option(m.address, m.address, chosen('market'))))),
    el('label', {}, 'State ', el('select', { name: 'state' }, option('', 'any', chosen('state')), STATES.map((s) => option(s, words(s), chosen('state'))))),
    el('label', {}, 'Label ', el('input', { name: 'label', value: chosen('label'), placeholder: 'name=value', autocomplete: 'off', spellcheck: 'false' })),
    el('button', {}, 'Show'));
}

export async function jobs({ query, signal }) {
  const [market, state, label, next] = ['market', 'state', 'label', 'after'].map((name) => query.get(name) || '');
  const [{ list, more }, markets] = await Promise.all([page(JOBS, 'jobs', { market, state, label, next_token: next, limit: LIMIT }, { signal }),
    page(MARKETS, 'markets', { limit: 500 }, { signal })]);
  const to = (after) => `#/jobs?${new URLSearchParams([['market', market], ['state', state], ['label', label], ['after', after]].filter(([, v]) => v))}`;
  return { name: 'Jobs', content: [title('Jobs'), filters(query, markets.list),
    panel('list', next ? 'Older jobs' : 'Newest jobs', jobTable('Jobs', list, { market: true, empty: market || state || label ? 'No job is like that.' : 'No job has been posted yet.' }),
      (next || more) && el('nav', { class: 'pages', 'aria-label': 'Pages' }, next && el('a', { href: to('') }, 'Newest'), more && el('a', { href: to(more), rel: 'next' }, 'Older')))] };
}
