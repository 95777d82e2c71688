// Springs: points on a plane under a loss, kin that attract and strangers that repel. The forces come from the losses that train: the
// server moves the points, the page draws them. And the film of a run of two dimensions, if one is served.

import { getJson, postJson, make, figure } from './server.js';
import { colours, colour, dark } from './plot.js';

const LOSSES = [
  { kind: 'drlim', name: 'DrLIM (contrastive, squared)', margin: [0.1, 3, 1] },
  { kind: 'contrastive', name: 'Contrastive (linear hinges)', margin: [0.1, 3, 1] },
  { kind: 'triplet', name: 'Triplet', margin: [0.05, 2, 0.5], mining: ['all', 'semi-hard', 'hard', 'batch-hard'] },
  { kind: 'nt-xent', name: 'NT-Xent by labels', temperature: [0.05, 2, 0.5] },
  { kind: 'sup-con', name: 'SupCon', temperature: [0.05, 2, 0.5] },
  { kind: 'multi-similarity', name: 'Multi-similarity', alpha: [0.5, 20, 2], beta: [1, 80, 20], base: [-0.5, 1, 0.5] },
];
const SAYS = {
  drlim: 'Kin attract however far apart; strangers repel within the margin, the more the nearer.',
  contrastive: 'As DrLIM, with the same force at any distance.',
  triplet: 'An anchor pulls a kin and pushes a stranger until the stranger is farther by the margin.',
  'nt-xent': 'On the circle: each kin against all strangers, the nearest of which push most. A small temperature hears only them.',
  'sup-con': 'On the circle: as NT-Xent, with all kin of an anchor in one term.',
  'multi-similarity': 'On the circle: pairs weighted by how they compare with all others of their anchor.',
};

export async function openSprings(panel, gallery) {
  const canvas = make('canvas', { class: 'card', role: 'img', tabindex: '0', 'aria-label': 'Points and the springs among them' });
  const controls = make('div', { class: 'controls' });
  panel.append(make('div', { class: 'lab' }, canvas, controls));

  const choice = make('select', { id: 'loss' }, ...LOSSES.map(({ kind, name }) => make('option', { value: kind }, name)));
  const settings = make('div', { class: 'controls' });
  const range = (name, [low, high, value], step = 'any') => {
    const output = make('output', {}, figure(value));
    const input = make('input', { type: 'range', min: low, max: high, step, value, name, oninput: () => { output.textContent = figure(+input.value); still(); } });
    return make('label', {}, name, output, input);
  };
  const rate = make('input', { type: 'range', min: -2.5, max: 0, step: 0.1, value: -1, 'aria-label': 'speed' });
  const number = (name, low, high, value) => {
    const output = make('output', {}, `${value}`);
    const input = make('input', { type: 'range', min: low, max: high, value, name, oninput: () => { output.textContent = input.value; scatter(); } });
    return make('label', {}, name, output, input);
  };
  const play = make('button', { id: 'play', onclick: () => run(!playing) }, 'Play');
  const figures = make('p', { class: 'muted', role: 'status' });
  const says = make('p', { class: 'muted' });
  const source = make('select', { id: 'source', onchange: () => begin() }, make('option', { value: 'play' }, 'Points to play with'));
  const lab = make('div', { class: 'controls' },
    make('label', {}, 'Loss', choice), says, settings, make('label', {}, 'Speed', rate),
    number('classes', 2, 10, 4), number('points a class', 2, 30, 12));
  const film = make('div', { class: 'controls', hidden: true });
  controls.append(
    make('label', {}, 'Show', source), lab, film,
    make('div', { class: 'row' }, play, make('button', { id: 'step', onclick: () => { run(false); advance(1); } }, 'Step'), make('button', { id: 'again', onclick: () => begin() }, 'Start again')),
    make('ul', { class: 'key' },
      make('li', { class: 'attracting' }, make('i'), 'kin attract'), make('li', { class: 'repelling' }, make('i'), 'strangers repel (dashed)')),
    figures);

  let points = [];
  let labels = [];
  let told = null;
  let playing = false;
  let busy = false;
  let changed = false;
  let record = null;
  let moment = 0;
  /** The strongest springs so far: beside them it shows when others come to rest. */
  let strongest = { attracting: 0, repelling: 0 };

  function describe() {
    const loss = LOSSES.find(({ kind }) => kind === choice.value);
    says.textContent = SAYS[loss.kind];
    const fields = Object.entries(loss).filter(([, value]) => Array.isArray(value) && typeof value[0] === 'number').map(([name, value]) => range(name, value));
    if (loss.mining) {
      fields.push(make('label', {}, 'mining', make('select', { name: 'mining', onchange: () => still() }, ...loss.mining.map((name) => make('option', {}, name)))));
    }
    settings.replaceChildren(...fields);
  }

  function chosen() {
    const loss = { kind: choice.value };
    for (const field of settings.querySelectorAll('[name]')) loss[field.name] = field.type === 'range' ? +field.value : field.value;
    return loss;
  }

  const value = (name) => +lab.querySelector(`[name="${name}"]`).value;

  /** Points of each class strewn about, the same every time. */
  function scatter() {
    let seed = 12345;
    const draw = () => { seed = (seed * 1103515245 + 12345) % 2147483648; return seed / 2147483648; };
    const [classes, each] = [value('classes'), value('points a class')];
    labels = Array.from({ length: classes * each }, (_, i) => i % classes);
    points = labels.map(() => [2.4 * draw() - 1.2, 2.4 * draw() - 1.2]);
    still();
  }

  async function ask(steps) {
    const body = { loss: chosen(), points, labels, rate: 10 ** +rate.value, steps };
    const asked = points;
    const answer = await postJson('/v1/springs', body);
    // Others are shown by now, strewn anew or of a film: the answer is about none of them.
    if (points !== asked) return;
    told = answer;
    points = told.points;
    figures.textContent = `loss ${figure(told.loss)} · ${told.active} of ${told.terms} terms pull · attraction ${figure(told.attraction)}, repulsion ${figure(told.repulsion)}`;
    draw();
    canvas.dataset.loss = told.loss;
  }

  async function advance(steps) {
    if (busy) {
      // What was changed meanwhile is shown as soon as it can be.
      changed ||= steps === 0;
      return;
    }
    busy = true;
    try {
      if (record) turn(moment + steps);
      else await ask(steps);
    } catch (error) {
      run(false);
      figures.textContent = error.message;
    }
    busy = false;
    if (changed) {
      changed = false;
      still();
    }
  }

  /** Shows the forces as they are, and moves nothing. */
  const still = () => { if (!record) advance(0); };

  function run(on) {
    playing = on;
    play.textContent = on ? 'Pause' : 'Play';
    if (on) frame();
  }

  let before = 0;
  function frame(now = 0) {
    if (!playing) return;
    // A film is shown at a pace that an eye can follow.
    if (!record || now - before > 70) {
      before = now;
      advance(1);
    }
    requestAnimationFrame(frame);
  }

  // The film of a run.

  function turn(to) {
    const { cast, moments } = record;
    moment = Math.min(Math.max(to, 0), moments.length - 1);
    if (moment === moments.length - 1) run(false);
    const shown = moments[moment];
    points = shown.places;
    labels = cast.labels.length ? cast.labels : points.map(() => 0);
    told = { attracting: shown.attracting, repelling: shown.repelling };
    film.querySelector('input').value = moment;
    figures.textContent = `step ${shown.step}: kin attract with ${figure(shown.forces.attraction)}, strangers repel with ${figure(shown.forces.repulsion)}, ${Math.round(100 * shown.forces.within_margin)} % of them within the margin`;
    draw();
  }

  function begin() {
    run(false);
    strongest = { attracting: 0, repelling: 0 };
    record = source.value === 'film' ? recorded : null;
    lab.hidden = record !== null;
    film.hidden = record === null;
    if (record) {
      film.replaceChildren(make('label', {}, 'Moment', make('input', { type: 'range', min: 0, max: record.moments.length - 1, value: 0, oninput: (event) => turn(+event.target.value) })));
      turn(0);
    } else {
      scatter();
    }
  }

  let recorded = null;
  if (gallery.springs) {
    recorded = await getJson('/v1/springs');
    if (recorded.moments.length) source.append(make('option', { value: 'film' }, 'The springs of this run'));
  }

  /** One scale for all moments of a film, so that a distance stays a distance; a still frame for play. */
  function bounds() {
    const all = record ? record.moments.flatMap((m) => m.places) : points;
    const reach = all.reduce((far, p) => Math.max(far, Math.abs(p[0]), Math.abs(p[1])), 0) * 1.08;
    return record ? reach || 1 : Math.max(reach, 1.3);
  }

  let view = { scale: 1, x: 0, y: 0 };
  function draw() {
    const ratio = devicePixelRatio || 1;
    const box = canvas.getBoundingClientRect();
    if (!box.width) return;
    [canvas.width, canvas.height] = [box.width * ratio, box.height * ratio];
    const pen = canvas.getContext('2d');
    pen.scale(ratio, ratio);
    const scale = Math.min(box.width, box.height) / 2 / bounds();
    view = { scale, x: box.width / 2, y: box.height / 2 };
    const at = ([x, y]) => [view.x + x * scale, view.y - y * scale];
    for (const [kind, mark, dash] of [['repelling', 'wrong', [5, 4]], ['attracting', 'right', []]]) {
      const springs = told?.[kind] ?? [];
      strongest[kind] = springs.reduce((most, [, , force]) => Math.max(most, force), strongest[kind]);
      pen.strokeStyle = colour(mark);
      pen.setLineDash(dash);
      for (const [i, j, force] of springs) {
        const strength = force / strongest[kind];
        if (strength < 0.02) continue;
        pen.globalAlpha = 0.12 + 0.55 * strength;
        pen.lineWidth = 0.5 + 2.2 * strength;
        pen.beginPath();
        pen.moveTo(...at(points[i]));
        pen.lineTo(...at(points[j]));
        pen.stroke();
      }
    }
    pen.globalAlpha = 1;
    pen.setLineDash([]);
    const shades = colours(Math.max(...labels) + 1);
    pen.strokeStyle = colour('card');
    points.forEach((point, i) => {
      pen.fillStyle = shades[labels[i]];
      pen.beginPath();
      pen.arc(...at(point), 5.5, 0, 2 * Math.PI);
      pen.fill();
      pen.stroke();
    });
  }

  // A point can be taken and put elsewhere.
  let held = null;
  const place = (event) => {
    const box = canvas.getBoundingClientRect();
    return [(event.clientX - box.left - view.x) / view.scale, (view.y - event.clientY + box.top) / view.scale];
  };
  canvas.addEventListener('pointerdown', (event) => {
    if (record) return;
    const [x, y] = place(event);
    const far = points.map(([a, b]) => Math.hypot(a - x, b - y));
    const nearest = far.indexOf(Math.min(...far));
    if (far[nearest] * view.scale < 16) {
      held = nearest;
      canvas.setPointerCapture(event.pointerId);
    }
  });
  canvas.addEventListener('pointermove', (event) => {
    if (held === null) return;
    points[held] = place(event);
    if (!playing) still();
  });
  canvas.addEventListener('pointerup', () => { held = null; });
  canvas.addEventListener('keydown', (event) => {
    if (event.key === ' ') { event.preventDefault(); run(!playing); }
    if (event.key === 'ArrowRight') { event.preventDefault(); run(false); advance(1); }
  });
  choice.addEventListener('change', () => { describe(); begin(); });
  dark.addEventListener('change', draw);
  addEventListener('resize', draw);
  describe();
  return {
    shown() { if (points.length) draw(); else begin(); },
    left() { run(false); },
  };
}
