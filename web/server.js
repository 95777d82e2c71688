// What the server is asked, and how its answers are read.

const KEY = 'nearkin-token';

/** An answer that says what was wrong. */
export class Refusal extends Error {
  constructor(status, error) {
    super(error.message);
    this.status = status;
    this.code = error.code;
  }
}

async function ask(path, options = {}) {
  const token = sessionStorage.getItem(KEY);
  const headers = { ...options.headers, ...(token ? { authorization: `Bearer ${token}` } : {}) };
  const response = await fetch(path, { ...options, headers });
  if (response.status === 401) {
    await askForToken();
    return ask(path, options);
  }
  if (!response.ok) {
    const told = await response.json().catch(() => null);
    throw new Refusal(response.status, told?.error ?? { code: 'unknown', message: `the server answered ${response.status}` });
  }
  return response;
}

let asking = null;

/** One dialog, however many requests wait for it. */
function askForToken() {
  asking ??= new Promise((resolve) => {
    const dialog = document.getElementById('token');
    dialog.addEventListener('close', () => {
      sessionStorage.setItem(KEY, document.getElementById('secret').value);
      asking = null;
      resolve();
    }, { once: true });
    dialog.showModal();
  });
  return asking;
}

const query = (parameters) => new URLSearchParams(parameters).toString();

export async function getJson(path, parameters = {}) {
  return (await ask(`${path}?${query(parameters)}`)).json();
}

export async function postJson(path, body) {
  const options = { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) };
  return (await ask(path, options)).json();
}

/** Neighbours of a picture file. */
export async function searchPicture(file, k) {
  const options = { method: 'POST', headers: { 'content-type': 'application/octet-stream' }, body: file };
  return (await ask(`/v1/search?${query({ k })}`, options)).json();
}

/** Asks until what takes its time is there. `waiting` hears when it is not there at once. */
async function patient(path, parameters, waiting) {
  for (let pause = 100; ; pause = Math.min(2 * pause, 1500)) {
    const response = await ask(`${path}?${query(parameters)}`);
    if (response.status !== 202) return response;
    waiting?.();
    await new Promise((resolve) => setTimeout(resolve, pause));
  }
}

export async function patientJson(path, parameters, waiting) {
  return (await patient(path, parameters, waiting)).json();
}

/** A head of JSON and the numbers after it. */
export async function framed(path, parameters, waiting) {
  const bytes = await (await patient(path, parameters, waiting)).arrayBuffer();
  const length = new DataView(bytes).getUint32(0, true);
  const head = JSON.parse(new TextDecoder().decode(new Uint8Array(bytes, 4, length)));
  const Numbers = head.numbers === 'u32' ? Uint32Array : Float32Array;
  return { head, numbers: new Numbers(bytes, 4 + length) };
}

const pictures = new Map();
const KEPT = 600;

/** The picture of a row as an address for an <img>; null where there is none. */
export function picture(id) {
  if (!pictures.has(id)) {
    const found = ask(`/v1/picture?${query({ id })}`)
      .then((response) => response.blob())
      .then((blob) => URL.createObjectURL(blob))
      .catch(() => null);
    pictures.set(id, found);
    if (pictures.size > KEPT) {
      const [oldest, address] = pictures.entries().next().value;
      pictures.delete(oldest);
      address.then((address) => address && URL.revokeObjectURL(address));
    }
  }
  return pictures.get(id);
}

/** Makes an element: `make('p', { class: 'muted' }, 'text', child)`. Text is never read as HTML. */
export function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith('on')) element.addEventListener(key.slice(2), value);
    else if (value === true) element.setAttribute(key, '');
    else if (value !== false && value != null) element.setAttribute(key, value);
  }
  element.append(...children.filter((child) => child != null));
  return element;
}

/** An <img> of a row, or a blank where it has no picture. */
export function pictureOf(id, alt) {
  const image = make('img', { alt, loading: 'lazy', onload: () => image.classList.toggle('tiny', image.naturalWidth < 64) });
  picture(id).then((address) => {
    if (address) image.src = address;
    else image.replaceWith(make('span', { class: 'blank' }));
  });
  return image;
}

export const count = (n) => n.toLocaleString('en');

/** Enough digits to tell numbers apart. */
export function figure(x) {
  if (x == null || Number.isNaN(x)) return '–';
  const size = Math.abs(x);
  if (size !== 0 && (size < 1e-3 || size >= 1e5)) return x.toExponential(2);
  return x.toFixed(size >= 100 ? 1 : size >= 10 ? 2 : size >= 1 ? 3 : 4);
}
