// Which classes mix, which rows are hard to find, which look like label errors.

import { patientJson, make, count, pictureOf } from './server.js';

const percent = (share) => `${Math.round(100 * share)} %`;

export async function openConfusion(panel, gallery, app) {
  const { index } = gallery;
  if (!index?.labelled) {
    panel.append(make('p', { class: 'muted' }, 'The rows of this index have no labels: there are no classes to mix.'));
    return {};
  }
  const says = make('p', { class: 'muted', role: 'status' }, 'Every row asks its neighbours …');
  panel.append(says);
  const found = await patientJson('/v1/gallery/confusion', { version: index.version });
  const right = `The ${found.k} nearest others of each of ${count(found.samples)} rows vote on its class: ${(100 * found.accuracy).toFixed(1)} % are taken for what they are.`;
  says.textContent = right;

  const mixed = make('table', {},
    make('thead', {}, make('tr', {}, make('th', {}, 'class'), make('th', {}, 'taken for'), make('th', { class: 'num' }, 'rows'))),
    make('tbody', {}, ...found.mixed.slice(0, 15).map((pair) =>
      make('tr', {}, make('td', {}, pair.label), make('td', {}, pair.taken_for), make('td', { class: 'num' }, count(pair.count))))));

  const list = (rows, why) => make('ol', { class: 'found' }, ...rows.slice(0, 24).map((row) =>
    make('li', {}, make('button', { onclick: () => app.neighboursOf(row.id), title: `See what is near ${row.id}` },
      pictureOf(row.id, ''), row.label, make('small', {}, why(row)), make('small', {}, row.id)))));

  const none = (text) => make('p', { class: 'muted' }, text);
  panel.append(make('div', { class: 'columns' },
    make('div', { class: 'card' }, make('h2', {}, 'Classes that mix'),
      found.counts.length ? matrix(found) : null,
      found.mixed.length ? mixed : none('No class is taken for another.')),
    make('div', { class: 'card' }, make('h2', {}, 'Likely label errors'),
      make('p', { class: 'muted' }, 'Their neighbours agree on another class, and are at home in it.'),
      found.suspects.length ? list(found.suspects, (row) => `looks like ${row.taken_for} (${percent(row.winner_share)})`) : none('None: every row looks like its class.')),
    make('div', { class: 'card' }, make('h2', {}, 'Worst queries'),
      make('p', { class: 'muted' }, 'The rows that are hardest to find by their class: it comes last among their neighbours.'),
      found.worst.length ? list(found.worst, (row) => `${percent(row.own_share)} of neighbours of its class`) : none('None: the nearest of every row is of its class.'))));
  panel.dataset.made = '';
  return {};
}

/** Rows: what they are. Columns: what they are taken for. The shade is the share of the row's class. */
function matrix({ classes, sizes, counts }) {
  const cells = classes.map(() => classes.map(() => 0));
  counts.forEach(([label, taken, n]) => { cells[label][taken] = n; });
  const cell = (n, label, taken) => {
    const share = n / Math.max(sizes[label], 1);
    const td = make('td', { title: `${classes[label]} taken for ${classes[taken]}: ${count(n)} of ${count(sizes[label])}` }, n && classes.length <= 20 ? `${n}` : '');
    if (n) {
      const shade = label === taken ? 'var(--right)' : 'var(--wrong)';
      td.style.background = `color-mix(in srgb, ${shade} ${Math.round(8 + 72 * Math.sqrt(share))}%, var(--card))`;
    }
    return td;
  };
  return make('div', { class: 'matrix', tabindex: '0', role: 'region', 'aria-label': 'Matrix of classes: rows are what samples are, columns what they are taken for' },
    make('table', {},
      make('thead', {}, make('tr', {}, make('td'), ...classes.map((name) => make('th', { scope: 'col' }, name)))),
      make('tbody', {}, ...cells.map((row, label) => make('tr', {}, make('th', { scope: 'row' }, classes[label]), ...row.map((n, taken) => cell(n, label, taken)))))));
}
