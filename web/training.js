// A run on its way: curves that grow while `train` runs.

import { getJson, make, figure, count } from './server.js';
import { chart, colours, dark } from './plot.js';

const PAUSE = 1000;
/** Spread below which a batch counts as collapsing. */
const COLLAPSED = 0.1;

export async function openTraining(panel, gallery) {
  if (!gallery.run) {
    panel.append(make('p', { class: 'muted' }, 'No run is watched here. Start the page with one: nearkin gallery --run runs/a'));
    return {};
  }
  const log = { steps: [], epochs: [], next: 0 };
  const tiles = make('div', { class: 'tiles' });
  const charts = make('div', { class: 'columns' });
  const says = make('p', { class: 'muted', role: 'status' });
  panel.append(tiles, charts, says);

  async function read() {
    let grown = false;
    for (let more = true; more;) {
      const found = await getJson('/v1/training', { from: log.next });
      if (found.restarted) log.steps = log.epochs = [];
      for (const event of found.events) {
        if (event.event === 'step') log.steps.push(event);
        if (event.event === 'epoch') log.epochs.push(event);
      }
      grown ||= found.events.length > 0 || found.restarted;
      log.next = found.next;
      more = found.more;
    }
    return grown;
  }

  const tile = (name, value, alarm) => make('div', { class: `card${alarm ? ' alarm' : ''}` }, make('b', {}, value), make('span', {}, name));

  function draw() {
    const { steps, epochs } = log;
    const last = steps[steps.length - 1];
    if (!last) {
      says.textContent = 'Nothing is logged yet.';
      return;
    }
    const validated = epochs.filter((epoch) => epoch.validation);
    const best = validated.map((epoch) => epoch.validation.precision_at_1).reduce((a, b) => Math.max(a, b), -Infinity);
    tiles.replaceChildren(
      tile(`step of ${count(last.steps)}`, count(last.step)),
      tile('epoch', `${last.epoch}`),
      tile('loss', figure(last.loss)),
      tile('terms that pull', `${Math.round(100 * last.active)} %`),
      tile('spread (0: collapsed)', figure(last.spread), last.spread < COLLAPSED),
      tile('effective rank', figure(last.effective_rank), last.effective_rank < 1.5),
      ...(Number.isFinite(best) ? [tile('best precision@1', figure(best))] : []),
      tile('images a second', count(Math.round(last.images_per_second))));
    const shades = colours(5);
    const of = (list, x, y) => list.map((item) => [item[x], y(item)]);
    const line = (name, mark, points) => ({ name, mark: shades[mark], points });
    const step = (name, mark, y) => line(name, mark, of(steps, 'step', y));
    const cards = [
      ['Loss', [step('a step', 0, (s) => s.loss), line('mean of an epoch', 1, of(epochs, 'step', (e) => e.loss))]],
      ['Collapse: spread of a batch on the sphere', [step('spread', 2, (s) => s.spread)], { low: 0, high: 1 }],
      ['Collapse: directions in use', [step('effective rank', 2, (s) => s.effective_rank)], { low: 0 }],
      ['Terms that pull', [step('active share', 4, (s) => s.active)], { low: 0, high: 1 }],
      ['Learning rate', [step('rate', 3, (s) => s.lr)], { low: 0 }],
    ];
    if (validated.length) {
      cards.splice(1, 0, ['Held-out samples', [
        line('precision@1', 0, of(validated, 'step', (e) => e.validation.precision_at_1)),
        line('MAP@R', 1, of(validated, 'step', (e) => e.validation.mean_average_precision_at_r))], { low: 0, high: 1 }]);
    }
    const share = (name) => (s) => s.triplets[name] / Math.max(s.triplets.easy + s.triplets['semi-hard'] + s.triplets.hard, 1);
    const counted = steps.filter((s) => s.triplets);
    if (counted.length) {
      cards.splice(1, 0, ['Triplets by difficulty', ['easy', 'semi-hard', 'hard'].map((name, at) =>
        line(name, [2, 1, 3][at], of(counted, 'step', share(name)))), { low: 0, high: 1 }]);
    }
    const forced = steps.filter((s) => s.forces);
    if (forced.length) {
      cards.splice(1, 0, ['Forces', [
        line('kin attract', 2, of(forced, 'step', (s) => s.forces.attraction)),
        line('strangers repel', 3, of(forced, 'step', (s) => s.forces.repulsion))], { low: 0 }]);
    }
    charts.replaceChildren(...cards.map(([title, series, range]) => {
      const key = series.map(({ name, mark, points }) => {
        const dot = make('i');
        dot.style.setProperty('--mark', mark);
        const end = points.length ? points[points.length - 1][1] : null;
        return make('li', {}, dot, `${name} `, make('b', {}, figure(end)));
      });
      return make('div', { class: 'card' }, make('h2', {}, title), chart(title, series, range), make('ul', { class: 'key' }, ...key));
    }));
    const left = last.step >= last.steps ? 'The run is complete.' : `About ${Math.ceil(last.seconds_left / 60)} min left, as logged.`;
    says.textContent = `${left} Charts go by steps.`;
    panel.dataset.steps = steps.length;
  }

  let timer = null;
  async function tick() {
    try {
      if (await read()) draw();
      else if (!log.steps.length) draw();
    } catch (error) {
      says.textContent = error.message;
    }
    timer = setTimeout(tick, PAUSE);
  }
  dark.addEventListener('change', draw);
  return {
    shown() { if (timer === null) { timer = setTimeout(tick, 0); } },
    left() { clearTimeout(timer); timer = null; },
  };
}
