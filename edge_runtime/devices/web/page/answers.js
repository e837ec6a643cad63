// What a model's outputs mean, by its task (docs/BUNDLE.md, "Tasks" and "Boxes"). Plain data; knows no page.
import { product } from "./arrays.js";

const CERTAIN = 0.5, MOST_NUMBERS = 64, SLACK = 0.01;
const sigmoid = (x) => 1 / (1 + Math.exp(-x));

// Probabilities along axis 1 of one sample, (1, C, …), from what the output holds.
function probabilities(values, holds, shape) {
  if (holds === "token_probabilities") { // the last axis comes first
    const labels = shape.at(-1), places = values.length / labels;
    return values.map((_, i) => values[(i % places) * labels + Math.floor(i / places)]);
  }
  if (holds === "log_probabilities") return values.map(Math.exp);
  if (holds !== "logits") return values;
  const labels = shape[1], inner = values.length / labels, found = new Float64Array(values.length);
  for (let j = 0; j < inner; j++) {
    let [most, sum] = [-Infinity, 0];
    for (let i = j; i < values.length; i += inner) most = Math.max(most, values[i]);
    for (let i = j; i < values.length; i += inner) sum += found[i] = Math.exp(values[i] - most);
    for (let i = j; i < values.length; i += inner) found[i] /= sum;
  }
  return found;
}

function checked(values, what = "a probability from 0 to 1") {
  const bad = values.find((value) => !(value >= -SLACK && value <= 1 + SLACK));
  if (bad !== undefined) throw new Error(`the model answered ${bad} where ${what} was expected`);
  return values.map((value) => Math.min(1, Math.max(0, value)));
}

const ranked = (labels, shares) => labels.map((label, i) => ({ label, share: shares[i], index: i }))
  .sort((a, b) => b.share - a.share || a.index - b.index);

function classification(bundle, outputs) {
  const [{ name, holds, shape }] = bundle.outputs, { labels } = bundle;
  const shares = probabilities(outputs[name], holds, shape);
  const places = shares.length / labels.length;
  if (places === 1) {
    const rows = ranked(labels, checked(shares));
    return { kind: "ranking", rows, short: rows[0].label };
  }
  const count = labels.map(() => 0); // a label for each place: the share of the places that have it
  for (let j = 0; j < places; j++) {
    let best = 0;
    for (let c = 1; c < labels.length; c++) if (shares[c * places + j] > shares[best * places + j]) best = c;
    count[best] += 1 / places;
  }
  const rows = ranked(labels, count);
  return { kind: "shares", rows, short: `mostly ${rows[0].label}` };
}

function multiLabel(bundle, outputs) {
  const [{ name, holds }] = bundle.outputs, values = outputs[name];
  const shares = checked(holds === "independent_logits" ? values.map(sigmoid) : values);
  const rows = ranked(bundle.labels, shares);
  const on = rows.filter(({ share }) => share >= CERTAIN).map(({ label }) => label);
  return { kind: "labels", rows, short: on.join(", ") || "none of the labels" };
}

function plain(bundle, outputs) {
  const rows = bundle.outputs.slice(0, bundle.task === "regression" ? 1 : undefined).flatMap(({ name, shape }) => {
    const values = outputs[name], named = bundle.labels.length === values.length;
    if (values.length <= MOST_NUMBERS) {
      return Array.from(values, (value, i) => ({ label: named ? bundle.labels[i] : `${name}[${i}]`, value }));
    }
    const mean = values.reduce((sum, value) => sum + value / values.length, 0);
    return [{ label: `${name} [${shape.join(", ")}], mean`, value: mean }];
  });
  return { kind: "numbers", rows, short: rows.slice(0, 3).map(({ value }) => Number(value.toPrecision(4))).join(", ") };
}

function segmentation(bundle, outputs) {
  const [{ name, holds, shape }] = bundle.outputs, values = outputs[name];
  const shares = checked(holds === "independent_logits" ? values.map(sigmoid) : values);
  const share = shares.reduce((sum, value) => sum + (value >= CERTAIN), 0) / product(shape.slice(1));
  const rows = [{ label: bundle.labels[0] ?? "the object", share }];
  const mask = { height: shape[2], width: shape[3], values: shares };
  return { kind: "mask", rows, mask, short: `${rows[0].label} in ${(100 * share).toFixed(1)} % of the picture` };
}

const area = ([l, t, r, b]) => Math.max(0, r - l) * Math.max(0, b - t);

export function overlap(p, q) { // intersection over union
  const both = area([Math.max(p[0], q[0]), Math.max(p[1], q[1]), Math.min(p[2], q[2]), Math.min(p[3], q[3])]);
  return both === 0 ? 0 : both / (area(p) + area(q) - both);
}

// What a detector finds: [{index, score, box}], the surest first, in pixels of the input.
export function detections(scores, boxes, labels, { score_threshold, iou_threshold, max_detections }) {
  if (!scores.every(Number.isFinite)) throw new Error("the model answered scores that are no numbers");
  let left = [], kept = [];
  scores.forEach((score, i) => {
    const place = Math.floor(i / labels), box = Array.from(boxes.subarray(4 * place, 4 * place + 4));
    if (score < score_threshold) return;
    if (!box.every(Number.isFinite)) throw new Error("the model answered boxes that are no numbers");
    left.push({ place, index: i % labels, score, box });
  });
  left.sort((p, q) => q.score - p.score || p.place - q.place || p.index - q.index);
  while (left.length && kept.length < max_detections) {
    const [best, ...others] = left;
    kept.push({ ...best, score: Math.min(1, best.score) });
    left = others.filter(({ index, box }) => index !== best.index || !(overlap(best.box, box) > iou_threshold));
  }
  return kept;
}

function detection(bundle, outputs) {
  const [scores, boxes] = ["scores", "boxes"].map((kind) => bundle.outputs.find(({ holds }) => holds === kind));
  const labels = scores.shape.length === 3 ? scores.shape[2] : 1;
  const found = detections(outputs[scores.name], outputs[boxes.name], labels, bundle.suppression);
  const certain = found.filter(({ score }) => score >= CERTAIN);
  const rows = certain.map(({ index, score, box }) => ({ label: bundle.labels[index], share: score, index, box }));
  const count = new Map();
  for (const { label } of rows) count.set(label, (count.get(label) ?? 0) + 1);
  const short = [...count].sort().map(([label, times]) => (times > 1 ? `${times} × ${label}` : label)).join(", ");
  return { kind: "boxes", rows, short: short || "nothing" };
}

const READERS = {
  classification, segmentation, detection, next_character: classification, multi_label: multiLabel, regression: plain,
  none: plain,
};

// One sample's outputs, {name: Float64Array}, as an answer: {kind, rows, short, …}.
export function readAnswer(bundle, outputs) {
  return READERS[bundle.task](bundle, outputs);
}

// The share of the pixels that two masks both flag, or neither does.
export function samePixels({ mask: { values } }, other) {
  const same = (value, i) => value >= CERTAIN === other.mask.values[i] >= CERTAIN;
  return values.reduce((sum, value, i) => sum + same(value, i), 0) / values.length;
}

// Whether two models say the same, as their task counts it.
export function sameAnswer(one, other) {
  if (one.kind === "mask") return samePixels(one, other) === 1;
  if (one.kind === "boxes") {
    const free = [...other.rows];
    return one.rows.length === free.length && one.rows.every(({ index, box }) => {
      const near = free.map((row) => (row.index === index ? overlap(box, row.box) : 0));
      const best = near.indexOf(Math.max(...near));
      return near[best] >= CERTAIN && free.splice(best, 1);
    });
  }
  if (one.kind !== "numbers") return one.short === other.short;
  const values = one.rows.map(({ value }) => value);
  const span = Math.max(...values) - Math.min(...values) || Math.abs(values[0]);
  return one.rows.every(({ value }, i) => Math.abs(value - other.rows[i].value) <= 0.02 * span);
}

// The last characters of a text as ASCII codes, which a model of characters takes.
export function characterCodes(text, length) {
  const last = Array.from(text.toLowerCase().replace(/[“”]/g, '"')).slice(-length).map((one) => one.codePointAt(0));
  return [...Array(length - last.length).fill(32), ...last.map((code) => (code < 128 ? code : 0))];
}
