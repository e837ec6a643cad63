// The bundle's files: their checksums, the arrays in a golden file, and the replay by which a bundle proves itself
// (docs/BUNDLE.md). Knows no engine but what can `run`, and no page.

// --- checksums
const ROTATE = (x, n) => (x >>> n) | (x << (32 - n));
const ROOTS = (() => { // the first 32 bits of the fractions of square and cube roots of the primes, as FIPS 180-4 says
  const primes = [];
  for (let n = 2; primes.length < 64; n++) if (primes.every((prime) => n % prime)) primes.push(n);
  const bits = (root) => ((root - Math.floor(root)) * 2 ** 32) | 0;
  return { start: primes.slice(0, 8).map((p) => bits(Math.sqrt(p))), rounds: primes.map((p) => bits(Math.cbrt(p))) };
})();

// SHA-256 without the browser's own, which pages without https do not get.
export function plainSha256(bytes) {
  const padded = new Uint8Array((((bytes.length + 8) >> 6) + 1) << 6), view = new DataView(padded.buffer);
  padded.set(bytes);
  padded[bytes.length] = 0x80;
  view.setUint32(padded.length - 8, Math.floor(bytes.length / 2 ** 29));
  view.setUint32(padded.length - 4, (bytes.length << 3) >>> 0);
  const state = Int32Array.from(ROOTS.start), w = new Int32Array(64);
  for (let at = 0; at < padded.length; at += 64) {
    for (let i = 0; i < 16; i++) w[i] = view.getInt32(at + 4 * i);
    for (let i = 16; i < 64; i++) {
      const a = w[i - 15], b = w[i - 2];
      const mixed = (ROTATE(a, 7) ^ ROTATE(a, 18) ^ (a >>> 3)) + (ROTATE(b, 17) ^ ROTATE(b, 19) ^ (b >>> 10));
      w[i] = w[i - 16] + w[i - 7] + mixed;
    }
    let [a, b, c, d, e, f, g, h] = state;
    for (let i = 0; i < 64; i++) {
      const choice = (ROTATE(e, 6) ^ ROTATE(e, 11) ^ ROTATE(e, 25)) + ((e & f) ^ (~e & g));
      const one = (h + choice + ROOTS.rounds[i] + w[i]) | 0;
      const two = ((ROTATE(a, 2) ^ ROTATE(a, 13) ^ ROTATE(a, 22)) + ((a & b) ^ (a & c) ^ (b & c))) | 0;
      [a, b, c, d, e, f, g, h] = [(one + two) | 0, a, b, c, (d + one) | 0, e, f, g];
    }
    [a, b, c, d, e, f, g, h].forEach((value, i) => { state[i] += value; });
  }
  return Array.from(state, (word) => (word >>> 0).toString(16).padStart(8, "0")).join("");
}

export async function sha256(bytes) {
  if (!globalThis.crypto?.subtle) return plainSha256(bytes);
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

// A file of the app, refused unless it has just the bytes that the app was written with.
export async function checkedFile(source, path, [bytes, due]) {
  const content = await source.bytes(path), found = content.length === bytes ? await sha256(content) : "";
  if (found === due) return content;
  const hashes = `its SHA-256 begins ${found.slice(0, 12)}, and not ${due.slice(0, 12)}`;
  const what = found ? hashes : `it has ${content.length} bytes, and not ${bytes}`;
  throw new Error(`${path} is not the file that this app was written with: ${what}. It was not loaded. Copy the app again`);
}

// --- arrays
const KINDS = {
  "|b1": ["uint8", Uint8Array], "|u1": ["uint8", Uint8Array], "|i1": ["int8", Int8Array], "<i4": ["int32", Int32Array],
  "<i8": ["int64", BigInt64Array], "<f2": ["float16", Uint16Array], "<f4": ["float32", Float32Array],
  "<f8": ["float64", Float64Array],
};
const HEADER = /'descr': '(.+?)', 'fortran_order': False, 'shape': \((.*?),?\)/;
export const product = (shape) => shape.reduce((a, b) => a * b, 1);
const ascii = (bytes, start, end) => String.fromCharCode(...bytes.subarray(start, end));

// The bytes of a .npy file → {dtype, shape, values}; float16 as its bits.
export function readArray(raw, name) {
  const view = new DataView(raw.buffer, raw.byteOffset, raw.length);
  const data = raw.length > 11 && ascii(raw, 0, 8) === "\x93NUMPY\x01\x00" ? 10 + view.getUint16(8, true) : 0;
  const found = HEADER.exec(ascii(raw, 10, data)), known = found && KINDS[found[1]];
  if (!known) throw new Error(`${name} is not an array of numbers as numpy.save writes it. Save it again`);
  const [dtype, Kind] = known, shape = found[2] ? found[2].split(",").map(Number) : [];
  const whole = raw.length === data + product(shape) * Kind.BYTES_PER_ELEMENT;
  if (!whole) throw new Error(`${name} is cut short. Save it again`);
  return { dtype, shape, values: new Kind(raw.slice(data).buffer) };
}

// The bytes of an .npz file, stored and not compressed → a Map from names to arrays.
export function readArrays(raw, name) {
  const view = new DataView(raw.buffer, raw.byteOffset, raw.length), end = raw.length - 22, arrays = new Map();
  const whole = end >= 0 && view.getUint32(end, true) === 0x06054b50;
  if (!whole) throw new Error(`${name} is not a whole .npz file. Save it with numpy.savez`);
  for (let at = view.getUint32(end + 16, true); at < end;) {
    const length = view.getUint16(at + 28, true), local = view.getUint32(at + 42, true);
    const member = ascii(raw, at + 46, at + 46 + length);
    if (view.getUint16(at + 10, true) !== 0) throw new Error(`${name} is compressed. Save it with numpy.savez`);
    const data = local + 30 + view.getUint16(local + 26, true) + view.getUint16(local + 28, true);
    const content = raw.subarray(data, data + view.getUint32(at + 24, true));
    arrays.set(member.replace(/\.npy$/, ""), readArray(content, `${name}: ${member}`));
    at += 46 + length + view.getUint16(at + 30, true) + view.getUint16(at + 32, true);
  }
  return arrays;
}

// The golden inputs of some samples, as one run takes them.
export function samplesOf(golden, specs, start, end = start + 1) {
  return Object.fromEntries(specs.map(({ name, dtype }) => {
    const { shape, values } = golden.get(`inputs/${name}`), width = values.length / shape[0];
    return [name, { dtype, shape: [end - start, ...shape.slice(1)], values: values.slice(start * width, end * width) }];
  }));
}

export function half(bits) { // a float16 by its bits
  const sign = bits & 0x8000 ? -1 : 1, exponent = (bits >> 10) & 31, fraction = bits & 1023;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return sign * (exponent ? 2 ** (exponent - 15) * (1 + fraction / 1024) : 2 ** -14 * (fraction / 1024));
}

export function numbers(values, dtype) {
  return Float64Array.from(values, dtype === "float16" && values instanceof Uint16Array ? half : Number);
}

// --- replay: the rule by_output
const largest = (values) => values.reduce((most, value) => (value > most ? value : most), -Infinity);
const smallest = (values) => values.reduce((least, value) => (value < least ? value : least), Infinity);

export function signalToNoise(r, f, samples) { // of what varies between samples, in dB
  const width = r.length / samples, mean = new Float64Array(width);
  let [signal, noise, spread] = [0, 0, 0];
  if (!r.every(Number.isFinite) || !f.every(Number.isFinite)) return -200;
  for (let k = 0; k < width; k++) {
    let [least, most] = [Infinity, -Infinity];
    for (let i = k; i < r.length; i += width) {
      mean[k] += r[i] / samples;
      if (r[i] < least) least = r[i];
      if (r[i] > most) most = r[i];
    }
    spread = Math.max(spread, most - least);
  }
  if (samples < 2 || spread <= 1e-6 * largest(r.map(Math.abs))) mean.fill(0);
  for (let i = 0; i < r.length; i++) {
    signal += (r[i] - mean[i % width]) ** 2;
    noise += (r[i] - f[i]) ** 2;
  }
  if (noise === 0 || signal === 0) return noise === 0 ? 200 : -200;
  return Math.min(200, Math.max(-200, 10 * Math.log10(signal / noise)));
}

export function agreement(holds, r, f, shape) { // the share of equal answers
  const along = { token_probabilities: shape.length - 1, probabilities: 1, logits: 1, log_probabilities: 1 }[holds];
  const share = (count, agrees) => {
    let hits = 0;
    for (let i = 0; i < count; i++) hits += agrees(i);
    return hits / count;
  };
  if (along !== undefined) {
    const labels = shape[along], inner = product(shape.slice(along + 1));
    const top = (x, j) => { // the index of the first largest; NaN, which equals nothing, where one is
      let best = 0;
      for (let c = 0, first = Math.floor(j / inner) * labels * inner + (j % inner); c < labels; c++) {
        if (Number.isNaN(x[first + c * inner])) return NaN;
        if (x[first + c * inner] > x[first + best * inner]) best = c;
      }
      return best;
    };
    return share(r.length / labels, (j) => top(r, j) === top(f, j));
  }
  const cut = { independent_logits: 0, independent_probabilities: 0.5, mask: 0.5 }[holds];
  if (cut !== undefined) return share(r.length, (i) => (f[i] >= cut) === (r[i] >= cut) && !Number.isNaN(r[i] + f[i]));
  const finite = r.filter(Number.isFinite), span = largest(finite) - smallest(finite) || Math.abs(finite[0] ?? 0);
  return share(r.length, (i) => (holds === "classes" ? r[i] === f[i] : Math.abs(r[i] - f[i]) <= 0.02 * span));
}

function furthest(r, f) { // the largest absolute difference
  let most = 0;
  for (let i = 0; i < r.length; i++) {
    const difference = r[i] === f[i] ? 0 : Math.abs(r[i] - f[i]);
    if (!(difference <= most)) most = Number.isNaN(difference) ? Infinity : difference;
  }
  return most;
}

function compare({ name, holds }, floor, r, f, shape) {
  const found = { output: name, max_abs: furthest(r, f), sqnr_db: signalToNoise(r, f, shape[0]) };
  found.agreement = agreement(holds, r, f, shape);
  const near = found.max_abs <= (floor.max_abs ?? Infinity);
  found.passed = near && found.sqnr_db >= (floor.sqnr_db ?? -200) && found.agreement >= (floor.agreement ?? 0);
  return found;
}

export function median(values) {
  const sorted = [...values].sort((a, b) => a - b), middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

function joined(parts) {
  const all = new Float64Array(parts.reduce((total, part) => total + part.length, 0));
  parts.reduce((at, part) => { all.set(part, at); return at + part.length; }, 0);
  return all;
}

// Runs every golden sample alone, then in the largest batch, and holds each output to its floors.
export async function replay(model, golden, bundle, onSample = async () => {}) {
  const { samples, floors } = bundle.golden, times = [], single = {}, together = {};
  const collect = (into, answers) => {
    for (const [name, values] of Object.entries(answers)) (into[name] ??= []).push(values);
  };
  await model.run(samplesOf(golden, bundle.inputs, 0)); // the first run allocates
  for (let i = 0; i < samples; i++) {
    const feeds = samplesOf(golden, bundle.inputs, i), start = performance.now(), answers = await model.run(feeds);
    times.push(performance.now() - start);
    collect(single, answers);
    await onSample(i + 1, samples);
  }
  const batch = Math.min(bundle.most_rows, samples);
  for (let i = 0; batch > 1 && i < samples; i += batch) {
    collect(together, await model.run(samplesOf(golden, bundle.inputs, i, Math.min(samples, i + batch))));
  }
  const outputs = bundle.outputs.map((spec) => {
    const { values, shape, dtype } = golden.get(`outputs/${spec.name}`), found = joined(single[spec.name]);
    const result = compare(spec, floors[spec.name], numbers(values, dtype), found, shape);
    const packed = golden.get(`packed/${bundle.packed_by}/${spec.name}`);
    result.since_packed = packed ? furthest(numbers(packed.values, dtype), found) : null;
    if (batch > 1) result.passed &&= compare(spec, floors[spec.name], found, joined(together[spec.name]), shape).passed;
    return result;
  });
  return { outputs, passed: outputs.every(({ passed }) => passed), samples, batch, median_ms: median(times) };
}
