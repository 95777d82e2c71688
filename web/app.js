// The page's frame: tabs, and who fills them.

import { getJson, count, make } from './server.js';
import { openMap } from './map.js';
import { openConfusion } from './confusion.js';
import { openTraining } from './training.js';
import { openSprings } from './springs.js';

const tabs = [...document.querySelectorAll('[role=tab]')];
const opened = new Map();
let gallery;

const openers = { map: openMap, confusion: openConfusion, training: openTraining, springs: openSprings };

/** Shows a view; the first time, it is made. Views may have `shown` and `left`, which start and stop what moves in them. */
export async function show(name) {
  for (const tab of tabs) {
    const is = tab.getAttribute('aria-controls') === name;
    tab.setAttribute('aria-selected', is);
    tab.tabIndex = is ? 0 : -1;
    const panel = document.getElementById(tab.getAttribute('aria-controls'));
    const was = !panel.hidden;
    panel.hidden = !is;
    if (was && !is) (await opened.get(panel.id))?.left?.();
  }
  if (location.hash !== `#${name}`) history.replaceState(null, '', `#${name}`);
  const panel = document.getElementById(name);
  if (!opened.has(name)) {
    opened.set(name, Promise.resolve(openers[name](panel, gallery, app)).catch((error) => {
      panel.append(make('p', { class: 'error', role: 'alert' }, error.message));
    }));
  }
  const view = await opened.get(name);
  view?.shown?.();
  return view;
}

/** What views ask of each other. */
const app = {
  /** Goes to the map and asks what is near a row. */
  async neighboursOf(id) {
    (await show('map'))?.askId(id);
  },
  /** A picture was dropped on whatever view. */
  async dropped(file) {
    (await show('map'))?.askPicture(file);
  },
  /** Looks at the index anew. */
  async refresh() {
    gallery = await getJson('/v1/gallery', { fresh: true });
    location.reload();
  },
};

for (const [at, tab] of tabs.entries()) {
  tab.addEventListener('click', () => show(tab.getAttribute('aria-controls')));
  tab.addEventListener('keydown', (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const next = tabs[(at + step + tabs.length) % tabs.length];
    next.focus();
    show(next.getAttribute('aria-controls'));
  });
}

try {
  gallery = await getJson('/v1/gallery');
  const { index, model, run } = gallery;
  const says = [
    index && `${count(index.rows)} rows of ${index.dimension} values, by ${index.metric}`,
    model && `model: ${model}`,
    run && `run: ${run}`,
  ];
  document.getElementById('summary').textContent = says.filter(Boolean).join(' · ');
  const wanted = location.hash.slice(1);
  await show(wanted in openers ? wanted : index ? 'map' : 'training');
} catch (error) {
  document.querySelector('main').prepend(make('p', { class: 'error', role: 'alert' }, error.message));
}
document.documentElement.dataset.ready = '';
