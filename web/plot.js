// Colours, and line charts as SVG.

const style = () => getComputedStyle(document.documentElement);
const PALETTE = 10;

/** The colour of the theme by its name. */
export const colour = (name) => style().getPropertyValue(`--${name}`).trim();

export const dark = matchMedia('(prefers-color-scheme: dark)');

/** So many colours, told apart: those of the theme, then further round the wheel. */
export function colours(n) {
  const named = Array.from({ length: Math.min(n, PALETTE) }, (_, i) => colour(`c${i}`));
  // Steps of the golden angle never come close to one another.
  const more = Array.from({ length: Math.max(0, n - PALETTE) }, (_, i) =>
    hex((i * 137.508 + 20) % 360, 0.55, (dark.matches ? 0.68 : 0.45) + (i % 3) * 0.06));
  return named.concat(more);
}

function hex(hue, saturation, lightness) {
  const a = saturation * Math.min(lightness, 1 - lightness);
  const channel = (n) => {
    const k = (n + hue / 30) % 12;
    const value = lightness - a * Math.max(-1, Math.min(k - 3, 9 - k, 1));
    return Math.round(255 * value).toString(16).padStart(2, '0');
  };
  return `#${channel(0)}${channel(8)}${channel(4)}`;
}

/** A scale from low to high that reads in grey too (after viridis). */
export const RAMP = ['#440154', '#482878', '#3e4989', '#31688e', '#26828e', '#1f9e89', '#35b779', '#6ece58', '#b5de2b', '#fde725'];

const NS = 'http://www.w3.org/2000/svg';

export function svg(name, attributes = {}, ...children) {
  const element = document.createElementNS(NS, name);
  for (const [key, value] of Object.entries(attributes)) {
    // Styles in attributes are refused by the page's own policy.
    if (key === 'mark') element.style.setProperty('--mark', value);
    else element.setAttribute(key, value);
  }
  element.append(...children);
  return element;
}

/** Round numbers that cover a range. */
export function ticks(low, high, wanted = 5) {
  const raw = (high - low) / wanted || 1;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((x) => x * power).find((x) => x >= raw);
  const found = [];
  for (let x = Math.ceil(low / step) * step; x <= high + step * 1e-9; x += step) found.push(Math.abs(x) < step * 1e-9 ? 0 : x);
  return found;
}

const short = (x) => {
  const size = Math.abs(x);
  if (size > 0 && size < 1e-3) return x.toExponential(0);
  return size >= 1e6 ? `${+(x / 1e6).toPrecision(3)}M` : size >= 1e4 ? `${+(x / 1e3).toPrecision(3)}k` : `${+x.toPrecision(3)}`;
};

/** A line chart. `series`: [{ name, mark, points: [[x, y], …] }]. */
export function chart(title, series, { low, high } = {}) {
  const [width, height, left, right, top, bottom] = [440, 220, 44, 10, 8, 24];
  const all = series.flatMap((s) => s.points).filter((p) => p.every(Number.isFinite));
  const element = svg('svg', { viewBox: `0 0 ${width} ${height}`, role: 'img', 'aria-label': title });
  if (all.length === 0) {
    element.append(svg('text', { x: left, y: height / 2 }, 'nothing yet'));
    return element;
  }
  const of = (axis, f) => all.reduce((best, p) => f(best, p[axis]), all[0][axis]);
  let [x0, x1, y0, y1] = [of(0, Math.min), of(0, Math.max), low ?? of(1, Math.min), high ?? of(1, Math.max)];
  if (x1 === x0) x1 = x0 + 1;
  if (y1 === y0) [y0, y1] = [y0 - 0.5, y1 + 0.5];
  const x = (v) => left + ((v - x0) / (x1 - x0)) * (width - left - right);
  const y = (v) => height - bottom - ((v - y0) / (y1 - y0)) * (height - top - bottom);
  for (const t of ticks(y0, y1, 4)) {
    element.append(svg('path', { class: 'grid', d: `M${left} ${y(t)}H${width - right}` }),
      svg('text', { x: left - 6, y: y(t) + 4, 'text-anchor': 'end' }, short(t)));
  }
  for (const t of ticks(x0, x1, 5)) element.append(svg('text', { x: x(t), y: height - 6, 'text-anchor': 'middle' }, short(t)));
  for (const { mark, points } of series) {
    const shown = points.filter((p) => p.every(Number.isFinite));
    if (shown.length === 1) {
      element.append(svg('circle', { class: 'point', mark, cx: x(shown[0][0]), cy: y(shown[0][1]), r: 3 }));
    } else {
      const d = thin(shown).map(([a, b], i) => `${i ? 'L' : 'M'}${x(a).toFixed(1)} ${y(b).toFixed(1)}`).join('');
      element.append(svg('path', { class: 'line', mark, d }));
    }
  }
  return element;
}

/** No more points than a chart has pixels; the last stays. */
function thin(points, most = 600) {
  if (points.length <= most) return points;
  const step = points.length / most;
  const kept = Array.from({ length: most }, (_, i) => points[Math.floor(i * step)]);
  return kept.concat([points[points.length - 1]]);
}
