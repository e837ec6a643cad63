// The replay by which a bundle proves itself, under the rule by_output of docs/BUNDLE.md. Knows no engine but what can
// `run`, and no page.
import { numbers, product } from "./arrays.js";

// The golden inputs of some samples, as one run takes them.
export function samplesOf(golden, specs, start, end = start + 1) {
  return Object.fromEntries(specs.map(({ name, dtype }) => {
    const { shape, values } = golden.get(`inputs/${name}`), width = values.length / shape[0];
    return [name, { dtype, shape: [end - start, ...shape.slice(1)], values: values.slice(start * width, end * width) }];
  }));
}

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
