// The map of all rows: look, pick, ask what is near.

import createScatterplot, { checkSupport } from './vendor/regl-scatterplot.js';
import { getJson, postJson, searchPicture, framed, picture, pictureOf, make, count, figure } from './server.js';
import { colours, colour, dark, RAMP } from './plot.js';

const NEIGHBOURS = 12;
const NONE = 0xffffffff;
const LISTED = 24;
const by = (id) => document.getElementById(id);

export async function openMap(panel, gallery, app) {
  const { index } = gallery;
  if (!index) throw new Error('No index is served here: there is no map to show.');
  const says = by('plot-says');
  if (!checkSupport()) says.textContent = 'This browser draws without WebGL, so the map may not show. Finding and dropping work all the same.';

  const state = { ids: null, rows: new Map(), codes: null, colour: null, only: null };
  const plot = createScatterplot({
    canvas: panel.querySelector('canvas'),
    lassoMinDelay: 10,
    lassoMinDist: 3,
    pointSize: index.rows > 20000 ? 2.5 : index.rows > 3000 ? 4 : 6,
    pointSizeSelected: 3,
    pointOutlineWidth: 2,
    opacity: index.rows > 20000 ? 0.6 : 0.85,
    opacityInactiveScale: 0.35,
  });

  // What is drawn.

  function theme() {
    plot.set({ backgroundColor: colour('card'), lassoColor: colour('accent') });
    paint();
  }

  function paint() {
    const { head } = state.colour ?? {};
    const active = colour('ink');
    let shades = [colour('accent')];
    if (head?.kind === 'classes') shades = [...colours(head.names.length), colour('other')];
    if (head?.kind === 'numbers') shades = RAMP;
    plot.set({ colorBy: head ? 'valueA' : null, pointColor: shades, pointColorActive: active, pointColorHover: active });
  }

  /** Places on [−1, 1], of one scale in both directions. */
  function normalised(points) {
    const n = points.length / 2;
    const bounds = [Infinity, -Infinity, Infinity, -Infinity];
    for (let i = 0; i < n; i++) {
      const [x, y] = [points[2 * i], points[2 * i + 1]];
      if (x < bounds[0]) bounds[0] = x;
      if (x > bounds[1]) bounds[1] = x;
      if (y < bounds[2]) bounds[2] = y;
      if (y > bounds[3]) bounds[3] = y;
    }
    const [cx, cy] = [(bounds[0] + bounds[1]) / 2, (bounds[2] + bounds[3]) / 2];
    const scale = 1.9 / Math.max(bounds[1] - bounds[0], bounds[3] - bounds[2], 1e-30);
    const [x, y] = [new Float32Array(n), new Float32Array(n)];
    for (let i = 0; i < n; i++) {
      x[i] = (points[2 * i] - cx) * scale;
      y[i] = (points[2 * i + 1] - cy) * scale;
    }
    return { x, y };
  }

  /** A value a point for its colour: a class number, or a share of the range. */
  function shades() {
    if (!state.colour) return undefined;
    const { head, numbers } = state.colour;
    if (head.kind === 'classes') return Array.from(numbers, (code) => (code === NONE ? head.names.length : code));
    const range = head.high - head.low || 1;
    return Array.from(numbers, (x) => (Number.isNaN(x) ? 0 : (x - head.low) / range));
  }

  async function draw(transition) {
    const { x, y } = state.places;
    const valueA = shades();
    const zDataType = state.colour?.head.kind === 'numbers' ? 'continuous' : 'categorical';
    await plot.draw({ x, y, ...(valueA ? { valueA } : {}) }, { transition, zDataType });
    plot.get('canvas').dataset.drawn = x.length;
  }

  async function layOut(transition) {
    const layout = by('layout').value;
    says.textContent = '';
    try {
      const parameters = { version: index.version, layout };
      const { numbers } = await framed('/v1/gallery/map', parameters, () => { says.textContent = 'The map is being made …'; });
      state.places = normalised(numbers);
      await draw(transition);
      whole();
      says.textContent = '';
    } catch (error) {
      says.textContent = error.message;
    }
  }

  async function colourBy(name) {
    try {
      state.colour = name ? await framed('/v1/gallery/column', { version: index.version, name }) : null;
    } catch (error) {
      state.colour = null;
      says.textContent = error.message;
    }
    state.only = null;
    paint();
    legend();
    if (state.places) await draw(false);
  }

  function legend() {
    const list = by('legend');
    const head = state.colour?.head;
    if (!head) return list.replaceChildren();
    if (head.kind === 'numbers') {
      const scale = make('span', { class: 'scale' });
      scale.style.background = `linear-gradient(90deg, ${RAMP.join(', ')})`;
      return list.replaceChildren(make('li', {}, figure(head.low)), scale, make('li', {}, figure(head.high)));
    }
    const shades = colours(head.names.length);
    const sizes = new Uint32Array(head.names.length);
    for (const code of state.colour.numbers) if (code !== NONE) sizes[code]++;
    const items = head.names.slice(0, 200).map((name, code) => {
      const dot = make('i');
      dot.style.setProperty('--mark', shades[code]);
      const button = make('button', { 'aria-pressed': 'false', title: `Show only ${name}`, onclick: () => only(code) }, dot, `${name} `, make('span', { class: 'muted' }, count(sizes[code])));
      return make('li', {}, button);
    });
    if (head.names.length > 200) items.push(make('li', { class: 'muted' }, `and ${count(head.names.length - 200)} more`));
    list.replaceChildren(...items);
  }

  /** Shows one class; asked again, all. */
  function only(code) {
    state.only = state.only === code ? null : code;
    [...by('legend').querySelectorAll('button')].forEach((button, at) => button.setAttribute('aria-pressed', at === state.only));
    if (state.only === null) return plot.unfilter();
    const points = [];
    state.colour.numbers.forEach((found, at) => { if (found === code) points.push(at); });
    plot.filter(points);
  }

  // What a row is.

  const labelOf = (at) => {
    const head = state.label?.head;
    const code = state.label?.numbers[at];
    return head && code !== undefined && code !== NONE ? head.names[code] : null;
  };

  function card(id, item, verdict) {
    const facts = [['id', id], ['label', item?.label], ...Object.entries(item?.columns ?? {})].filter(([, value]) => value != null);
    const list = make('dl', {}, ...facts.flatMap(([name, value]) => [make('dt', {}, name), make('dd', {}, value)]));
    return make('div', { class: 'asked card' }, pictureOf(id, `picture of ${id}`), make('div', {}, list, verdict));
  }

  /** What is near, with why: rank, distance, and whether it is near enough. */
  function tell(result, metric, own) {
    const items = result.hits.map((hit) => {
      const same = own == null || hit.label == null ? '' : hit.label === own ? 'same' : 'other';
      const beyond = hit.accepted === false ? ' beyond' : '';
      const button = make('button', { class: same + beyond, onclick: () => askId(hit.id), title: hit.accepted === false ? 'Farther than the threshold' : '' },
        pictureOf(hit.id, ''), `${hit.rank}. ${hit.label ?? hit.id}`, make('small', {}, `${metric} ${figure(hit.score)}`), hit.label ? make('small', {}, hit.id) : null);
      return make('li', {}, button);
    });
    by('neighbours').replaceChildren(...items);
    const points = result.hits.map((hit) => state.rows.get(hit.id)).filter((at) => at !== undefined);
    return points;
  }

  const verdictOf = (result) => {
    if (result.known == null) return null;
    const text = result.known ? 'Known: the nearest is within the threshold.' : 'Unknown: even the nearest is farther than the threshold.';
    const { score, false_accept_rate } = gallery.threshold;
    const why = `The threshold is ${figure(score)}: ${figure(100 * false_accept_rate)} % of strangers are as near.`;
    return make('div', {}, make('p', { class: `verdict ${result.known ? '' : 'error'}` }, text), make('p', { class: 'muted' }, why));
  };

  function refuse(error) {
    by('asked').replaceChildren(make('p', { class: 'error', role: 'alert' }, error.message));
    by('neighbours').replaceChildren();
  }

  let latest = 0;

  async function askId(id) {
    const turn = ++latest;
    try {
      const [item, found] = await Promise.all([
        getJson('/v1/item', { id }),
        postJson('/v1/search', { queries: [{ id }], k: NEIGHBOURS }),
      ]);
      if (turn !== latest) return;
      const [result] = found.results;
      by('asked').replaceChildren(card(id, item, verdictOf(result)));
      const points = tell(result, found.metric, item.label);
      const own = state.rows.get(id);
      pick(own === undefined ? points : [own, ...points]);
    } catch (error) {
      if (turn === latest) refuse(error);
    }
  }

  async function askPicture(file) {
    const turn = ++latest;
    const image = make('img', { alt: 'the picture that was dropped' });
    image.src = URL.createObjectURL(file);
    image.onload = () => URL.revokeObjectURL(image.src);
    by('asked').replaceChildren(make('div', { class: 'asked card' }, image, make('p', { class: 'muted' }, 'Searching …')));
    try {
      const found = await searchPicture(file, NEIGHBOURS);
      if (turn !== latest) return;
      const [result] = found.results;
      by('asked').replaceChildren(make('div', { class: 'asked card' }, image, make('div', {}, make('p', {}, file.name || 'A picture'), verdictOf(result))));
      pick(tell(result, found.metric, null));
    } catch (error) {
      if (turn === latest) refuse(error);
    }
  }

  /** Marks points without taking it for a wish of the user. */
  function pick(points) {
    plot.select(points, { preventEvent: true });
  }

  function lassoed(points) {
    const tally = new Map();
    points.forEach((at) => { const label = labelOf(at) ?? 'no label'; tally.set(label, (tally.get(label) ?? 0) + 1); });
    const rows = [...tally].sort((a, b) => b[1] - a[1]);
    const head = make('p', { class: 'verdict' }, `${count(points.length)} picked`);
    const table = make('table', {}, make('tbody', {}, ...rows.slice(0, 12).map(([label, n]) =>
      make('tr', {}, make('th', {}, label), make('td', { class: 'num' }, count(n))))));
    const items = points.slice(0, LISTED).map((at) => make('li', {}, make('button', { onclick: () => askId(state.ids[at]) }, pictureOf(state.ids[at], ''), labelOf(at) ?? state.ids[at])));
    by('picked').replaceChildren(head, table, make('ol', { class: 'found' }, ...items));
  }

  // The mouse, the finger, the keys.

  plot.subscribe('select', ({ points }) => {
    if (points.length === 1) {
      by('picked').replaceChildren();
      askId(state.ids[points[0]]);
    } else if (points.length) {
      lassoed(points);
    }
  });
  plot.subscribe('deselect', () => by('picked').replaceChildren());

  const tip = by('tip');
  plot.subscribe('pointover', (at) => hover(at));
  plot.subscribe('pointout', () => { tip.hidden = true; });

  function hover(at) {
    const id = state.ids?.[at];
    if (id === undefined) return;
    const [x, y] = plot.getScreenPosition(at);
    const label = labelOf(at);
    tip.replaceChildren(...(label ? [make('b', {}, label), make('br')] : []), id);
    tip.dataset.id = id;
    tip.hidden = false;
    const box = by('plot').getBoundingClientRect();
    tip.style.left = `${Math.min(x + 12, box.width - 130)}px`;
    tip.style.top = `${Math.max(4, Math.min(y + 12, box.height - 150))}px`;
    picture(id).then((address) => {
      if (address && tip.dataset.id === id && !tip.querySelector('img')) tip.prepend(pictureOf(id, ''));
    });
  }

  const view = () => ({ target: plot.get('cameraTarget'), distance: plot.get('cameraDistance') });

  function move(dx, dy) {
    const { target, distance } = view();
    plot.set({ cameraTarget: [target[0] + dx * distance, target[1] + dy * distance] });
  }

  function zoom(factor) {
    plot.set({ cameraDistance: Math.min(Math.max(view().distance * factor, 1e-3), 10) });
  }

  /** Wide or tall, all of it is seen. */
  const whole = () => {
    const { width, height } = by('plot').getBoundingClientRect();
    plot.set({ cameraTarget: [0, 0], cameraDistance: Math.max(1, height / width), cameraRotation: 0 });
  };

  /** The point that is nearest to a place on the canvas, in pixels; of the class shown alone, if one is. */
  function nearest(px, py, within = Infinity) {
    let [best, least] = [null, within ** 2];
    for (const at of plot.get('pointsInView')) {
      if (state.only !== null && state.colour.numbers[at] !== state.only) continue;
      const place = plot.getScreenPosition(at);
      if (!place) continue;
      const far = (place[0] - px) ** 2 + (place[1] - py) ** 2;
      if (far < least) [best, least] = [at, far];
    }
    return best;
  }

  by('plot').addEventListener('keydown', (event) => {
    const step = 0.15;
    const does = {
      ArrowLeft: () => move(-step, 0), ArrowRight: () => move(step, 0), ArrowUp: () => move(0, step), ArrowDown: () => move(0, -step),
      '+': () => zoom(0.8), '=': () => zoom(0.8), '-': () => zoom(1.25), 0: whole,
      n: () => {
        const box = by('plot').getBoundingClientRect();
        const at = nearest(box.width / 2, box.height / 2);
        if (at !== null) { hover(at); askId(state.ids[at]); }
      },
    }[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (!does || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    does();
  });

  // One finger moves, two zoom, a tap picks: the library knows the mouse only.
  const fingers = new Map();
  let moved = 0;
  by('plot').addEventListener('pointerdown', (event) => {
    if (event.pointerType !== 'touch') return;
    if (fingers.size === 0) moved = 0;
    fingers.set(event.pointerId, [event.clientX, event.clientY]);
  });
  by('plot').addEventListener('pointermove', (event) => {
    const from = fingers.get(event.pointerId);
    if (!from) return;
    const to = [event.clientX, event.clientY];
    const box = by('plot').getBoundingClientRect();
    const half = Math.min(box.width, box.height) / 2;
    if (fingers.size === 1) {
      move(-(to[0] - from[0]) / half, (to[1] - from[1]) / half);
    } else {
      const other = [...fingers].find(([id]) => id !== event.pointerId)[1];
      const apart = (p) => Math.hypot(p[0] - other[0], p[1] - other[1]);
      zoom(apart(from) / Math.max(apart(to), 1));
    }
    moved += Math.hypot(to[0] - from[0], to[1] - from[1]);
    fingers.set(event.pointerId, to);
  });
  const lift = (event) => {
    if (!fingers.delete(event.pointerId) || moved > 8) return;
    const box = by('plot').getBoundingClientRect();
    const at = nearest(event.clientX - box.left, event.clientY - box.top, 30);
    if (at !== null) { hover(at); askId(state.ids[at]); }
  };
  by('plot').addEventListener('pointerup', lift);
  by('plot').addEventListener('pointercancel', (event) => fingers.delete(event.pointerId));

  by('lasso').addEventListener('click', (event) => {
    const on = event.currentTarget.getAttribute('aria-pressed') !== 'true';
    event.currentTarget.setAttribute('aria-pressed', on);
    plot.set({ mouseMode: on ? 'lasso' : 'panZoom' });
  });
  by('whole').addEventListener('click', whole);
  by('fresh').addEventListener('click', () => app.refresh());
  by('find').addEventListener('submit', (event) => {
    event.preventDefault();
    askId(by('id').value.trim());
  });
  by('file').addEventListener('change', (event) => {
    const [file] = event.target.files;
    if (file) askPicture(file);
  });
  document.addEventListener('dragover', (event) => { event.preventDefault(); document.body.classList.add('dropping'); });
  document.addEventListener('dragleave', (event) => { if (!event.relatedTarget) document.body.classList.remove('dropping'); });
  document.addEventListener('drop', (event) => {
    event.preventDefault();
    document.body.classList.remove('dropping');
    const [file] = event.dataTransfer.files;
    if (file) app.dropped(file);
  });
  document.addEventListener('paste', (event) => {
    const [file] = event.clipboardData.files;
    if (file) app.dropped(file);
  });
  if (!gallery.model) by('drop').hidden = true;

  for (const { name, offered, max_rows } of index.layouts) {
    const label = { pca: 'PCA', tsne: 't-SNE', umap: 'UMAP' }[name];
    by('layout').append(make('option', { value: name, disabled: !offered, title: offered ? '' : `up to ${count(max_rows)} rows` }, label));
  }
  by('layout').addEventListener('change', () => layOut(true));
  by('colour').append(make('option', { value: '' }, 'nothing'), ...index.columns.map((name) => make('option', { value: name }, name)));
  by('colour').addEventListener('change', (event) => colourBy(event.target.value));
  dark.addEventListener('change', () => { theme(); legend(); });

  const ids = getJson('/v1/gallery/ids', { version: index.version }).then((ids) => {
    state.ids = ids;
    ids.forEach((id, at) => state.rows.set(id, at));
  });
  if (index.labelled) {
    by('colour').value = 'label';
    await colourBy('label');
    state.label = state.colour;
  }
  theme();
  await Promise.all([layOut(false), ids]);
  return { askId, askPicture };
}
