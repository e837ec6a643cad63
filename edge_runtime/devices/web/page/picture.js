// A picture becomes the model's input, as docs/BUNDLE.md says ("Pictures", steps 4 to 9): the same whole numbers as in
// Python. A canvas would resize otherwise. Takes decoded, upright pixels; knows no canvas.
const MOST_PIXELS = 100_000_000, MOST_SIDE = 65_535;
const even = (x) => { const low = Math.floor(x); return x - low === 0.5 ? low + (low % 2) : Math.round(x); };
const KERNELS = {
  bilinear: [1, (t) => Math.max(0, 1 - Math.abs(t))],
  bicubic: [2, (t) => {
    const x = Math.abs(t);
    return x < 1 ? (1.5 * x - 2.5) * x * x + 1 : x < 2 ? ((-0.5 * x + 2.5) * x - 4) * x + 2 : 0;
  }],
};
// To multiples of 1 / 2^22, halves away from zero.
const fixed = (weight) => (weight < 0 ? -Math.floor(0.5 - weight * 2 ** 22) : Math.floor(weight * 2 ** 22 + 0.5));

// RGBA bytes → one grey byte or three colours a pixel, over white.
function plainPixels(rgba, grey) {
  const count = rgba.length / 4, pixels = new Uint8Array(count * (grey ? 1 : 3)), over = [0, 0, 0];
  for (let i = 0; i < count; i++) {
    const alpha = rgba[4 * i + 3];
    for (let c = 0; c < 3; c++) {
      const t = rgba[4 * i + c] * alpha + 255 * (255 - alpha) + 128;
      over[c] = alpha === 255 ? rgba[4 * i + c] : ((t >> 8) + t) >> 8;
    }
    if (grey) pixels[i] = (19595 * over[0] + 38470 * over[1] + 7471 * over[2] + 32768) >> 16;
    else pixels.set(over, 3 * i);
  }
  return pixels;
}

// Which pixels of an axis of n make outputs first to first + count of `out` over the box: [from, weights] of each.
function weightsOf(n, begin, end, out, first, count, [support, kernel]) {
  const r = Math.fround(Math.fround(end) - Math.fround(begin)) / out, q = Math.max(1, r), reach = support * q;
  return Array.from({ length: count }, (_, k) => {
    const centre = Math.fround(begin) + (first + k + 0.5) * r, weights = [];
    const from = Math.max(0, Math.floor(centre - reach + 0.5)), until = Math.min(n, Math.floor(centre + reach + 0.5));
    let sum = 0;
    for (let i = from; i < until; i++) sum += weights[weights.push(kernel((i + 0.5 - centre) / q)) - 1];
    return [from, weights.map((weight) => fixed(weight / sum))];
  });
}

// One pass along an axis: `lines` lines of pixels that lie `step` apart, each line `stride` from the next.
function pass(source, target, weights, { lines, stride, step, channels, toStride, toStep }) {
  for (let line = 0; line < lines; line++) {
    weights.forEach(([from, factors], k) => {
      for (let c = 0; c < channels; c++) {
        let sum = 2 ** 21;
        let at = line * stride + from * step + c;
        for (let i = 0; i < factors.length; i++, at += step) sum += factors[i] * source[at];
        target[line * toStride + k * toStep + c] = Math.max(0, Math.min(255, Math.floor(sum / 2 ** 22)));
      }
    });
  }
}

function nearest(n, begin, end, out, first, count) {
  const r = Math.fround(Math.fround(end) - Math.fround(begin)) / out, places = [];
  let at = Math.fround(begin) + r / 2;
  for (let x = 0; x < first + count; x++, at += r) places.push(Math.min(n - 1, Math.max(0, Math.floor(at))));
  return places.slice(first);
}

// The columns `x` and rows `y`, each {n, begin, end, out, first, count}, of a picture that is resized.
function resized(pixels, channels, x, y, interpolation) {
  const along = ({ n, begin, end, out, first, count }) => [n, begin, end, out, first, count];
  const whole = ({ n, begin, end, out }) => Number.isInteger(begin) && end - begin === out && end <= n;
  const kernel = KERNELS[interpolation], target = new Uint8Array(x.count * y.count * channels);
  if (!kernel || (whole(x) && whole(y))) { // nothing is mixed
    const as = ({ begin, first, count }) => Array.from({ length: count }, (_, k) => begin + first + k);
    const places = (axis) => (kernel ? as(axis) : nearest(...along(axis))), columns = places(x);
    places(y).forEach((row, j) => columns.forEach((column, i) => {
      const from = (row * x.n + column) * channels;
      for (let c = 0; c < channels; c++) target[(j * x.count + i) * channels + c] = pixels[from + c];
    }));
    return target;
  }
  const one = ({ begin, first, count }) => Array.from({ length: count }, (_, k) => [begin + first + k, [2 ** 22]]);
  const [across, down] = [x, y].map((axis) => (whole(axis) ? one(axis) : weightsOf(...along(axis), kernel)));
  const top = down[0][0], end = Math.max(...down.map(([from, factors]) => from + factors.length)); // rows
  const lines = end - top;
  const line = x.n * channels, row = x.count * channels, wide = new Uint8Array(lines * row);
  const below = down.map(([from, factors]) => [from - top, factors]);
  const rows = { lines, stride: line, step: channels, channels, toStride: row, toStep: channels };
  pass(pixels.subarray(top * line), wide, across, rows);
  pass(wide, target, below, { ...rows, lines: x.count, stride: channels, step: row, toStride: channels, toStep: row });
  return target;
}

function axes(width, height, { resize, resize_to: to, width: w, height: h }) {
  const short = Math.min(width, height);
  return [[width, w], [height, h]].map(([n, cut]) => {
    const scaled = Math.floor((to * n) / short), f = even((scaled - cut) / 2);
    const seen = [(f * n) / scaled, ((f + cut) * n) / scaled];
    if (resize === "resize_center_crop") return { n, begin: 0, end: n, out: scaled, first: f, count: cut, seen };
    const whole = resize === "stretch" || (width === w && height === h);
    const [begin, end] = whole ? [0, n] : seen;
    return { n, begin, end, out: cut, first: 0, count: cut, seen: [begin, end] };
  });
}

// {width, height, data: RGBA} → the tensor {dtype, shape, values}, and what of the picture it shows.
export function toTensor({ width, height, data }, contract, { invert = false } = {}) {
  const channels = contract.mode === "L" ? 1 : 3, [x, y] = axes(width, height, contract);
  if (width * height > MOST_PIXELS || Math.max(width, height) > MOST_SIDE || x.out * y.out > MOST_PIXELS) {
    const size = `${width} × ${height} pixels`;
    throw new Error(`the picture, ${size}, is too large or too thin. Cut out the part that matters`);
  }
  const pixels = resized(plainPixels(data, channels === 1), channels, x, y, contract.interpolation);
  if (invert) pixels.forEach((value, i) => { pixels[i] = 255 - value; });
  const seen = { left: x.seen[0], top: y.seen[0], right: x.seen[1], bottom: y.seen[1] };
  const raw = { dtype: "uint8", shape: [1, y.count, x.count, channels], values: pixels };
  if (contract.dtype === "uint8") return { tensor: raw, seen };
  const area = x.count * y.count, values = new Float32Array(area * channels);
  for (let c = 0; c < channels; c++) {
    const mean = contract.mean[c], std = contract.std[c];
    for (let i = 0; i < area; i++) values[c * area + i] = (pixels[i * channels + c] / 255 - mean) / std;
  }
  return { tensor: { dtype: "float32", shape: [1, channels, y.count, x.count], values }, seen };
}

// A tensor as the contract describes it, back to a picture {width, height, data: RGBA} to show.
export function toPicture({ values }, { mode, dtype, height, width, mean, std }) {
  const channels = mode === "L" ? 1 : 3, area = width * height, data = new Uint8ClampedArray(4 * area).fill(255);
  const raw = dtype === "uint8";
  const level = (i, c) => (raw ? values[i * channels + c] : (values[c * area + i] * std[c] + mean[c]) * 255);
  for (let i = 0; i < area; i++) for (let c = 0; c < 3; c++) data[4 * i + c] = level(i, channels === 1 ? 0 : c);
  return { width, height, data };
}
