// What is shown of a bundle: its card, and its answer as bars, numbers, a mask or boxes. Runs no model.
import { element, paint } from "./inputs.js";
import { toPicture } from "./picture.js";

const SHOWN_ROWS = 5, MOST_NUMBERS = 64, MOST_SIDE = 640, ACCENT = [255, 77, 141];
export const BACK_END = { wasm: "WebAssembly", webgpu: "WebGPU" };
const together = (text) => text.replace(/(\S) (%|dB|ms|µs|s\b)/g, "$1\u00a0$2"); // no line ends before a unit

export function three(value) { // three digits that mean something
  const text = value.toPrecision(3);
  if (Math.abs(value) >= 999.5) return Math.round(value).toLocaleString("en");
  return text.includes("e") ? value.toExponential(2) : String(Number(text));
}

export function msText(ms) {
  if (ms < 0.9995) return `${three(ms * 1000)} µs`;
  return ms < 999.5 ? `${three(ms)} ms` : `${three(ms / 1000)} s`;
}

const decibels = (db) => (db >= 200 ? "identical" : db <= -200 ? "not finite" : `${db.toFixed(1)} dB`);

export function percent(share) { // a share that is not quite all, or not quite nothing, is not called so
  if (share === 0 || share === 1) return `${100 * share} %`;
  const text = (100 * share).toFixed(1);
  return text === "100.0" ? ">99.9 %" : text === "0.0" ? "<0.1 %" : `${text} %`;
}

// The card of an opened bundle; `one.answer` and `one.time` become the places for its answer and its time.
export function cardOf(one, { threads }) {
  const { bundle, model, provider, check, tried } = one;
  const card = element("article", { className: "card" }), facts = element("dl");
  const fact = (name, ...what) => {
    const value = element("dd", {}, ...what.map((part) => (typeof part === "string" ? together(part) : part)));
    facts.append(element("dt", { textContent: name }), value);
    return value;
  };
  const said = (className, text) => element("p", { className, textContent: text });
  const seal = element("span", { className: `seal ${bundle.tone}`, textContent: bundle.stamp || "verified" });
  card.append(element("header", {}, element("h2", { textContent: bundle.recipe }), seal), said("faint", bundle.name));
  if (bundle.why) card.append(said(`warn ${bundle.tone}`, `${bundle.stamp}: ${bundle.why}.`));
  if (!model) card.append(Object.assign(said("warn bad", `Not used: ${tried.at(-1).error}.`), { role: "alert" }));
  card.append(one.answer = element("div", { className: "answer" }), facts);
  fact("Size", bundle.size + (bundle.smaller && `, ${bundle.smaller}`));
  one.time = model && fact("Time", "…");
  if (bundle.metric) fact("Measured", bundle.metric);
  for (const { output, max_abs, sqnr_db, agreement, passed, since_packed } of check?.outputs ?? []) {
    const mark = element("span", { className: passed ? "pass" : "fail", textContent: passed ? "passed" : "failed" });
    const since = since_packed === null ? "" : `, ${three(since_packed)} from when it was packed`;
    const of = check.outputs.length > 1 ? ` of ${output}` : "";
    fact("Self-test", mark, `${of}: max |Δ| ${three(max_abs)}${since}, SQNR ${decibels(sqnr_db)}, ` +
      `${percent(agreement)} agree on ${check.samples} samples, ${msText(check.median_ms)} each. ` +
      `Held to ${bundle.held_to[output]}`);
  }
  const others = tried.filter((attempt) => attempt.provider && attempt.provider !== provider);
  const instead = others.map((attempt) => `; not ${BACK_END[attempt.provider]}: ${attempt.error}`).join("");
  const on = provider === "wasm" ? `, ${threads} thread${threads > 1 ? "s" : ""}` : "";
  if (model) fact("Back end", `${BACK_END[provider]}${on}${instead}`);
  return card;
}

// An answer, as elements for its card.
export function answerOf({ bundle, said, given }, picture) {
  const rows = element("ol", { className: "rows" });
  for (const { label, share, value } of said.rows.slice(0, said.kind === "numbers" ? MOST_NUMBERS : SHOWN_ROWS)) {
    const text = share === undefined ? three(value) : percent(share), bar = element("i");
    const amount = element("span", { className: "amount", textContent: together(text) });
    const line = element("li", {}, element("span", { textContent: label === " " ? "space" : label }), amount);
    bar.style.width = `${100 * share}%`;
    if (share !== undefined) line.append(element("span", { className: "bar", ariaHidden: "true" }, bar));
    rows.append(line);
  }
  const big = element("p", { className: "big" }, element("b", { textContent: said.short }));
  if (said.kind === "ranking") big.append(element("span", { textContent: together(percent(said.rows[0].share)) }));
  const seen = picture ?? (bundle.preprocessing && toPicture(given.tensor, bundle.preprocessing));
  const drawable = seen && (said.kind === "mask" || said.kind === "boxes");
  const drawn = drawable ? [drawingOf(said, seen, given.seen, bundle)] : [];
  return said.kind === "mask" ? [...drawn, rows] : [big, ...drawn, rows];
}

// The mask or the boxes over the picture.
function drawingOf(said, picture, seen, { preprocessing }) {
  const side = Math.max(picture.width, picture.height);
  const scale = Math.min(1, MOST_SIDE / side) * Math.max(1, Math.floor(MOST_SIDE / 2 / side)); // small ones grow
  const size = { width: picture.width * scale, height: picture.height * scale };
  const canvas = element("canvas", { className: "drawn", ...size }), context = canvas.getContext("2d");
  const area = seen ?? { left: 0, top: 0, right: picture.width, bottom: picture.height };
  context.imageSmoothingEnabled = scale < 1;
  context.drawImage(paint(element("canvas"), picture), 0, 0, canvas.width, canvas.height);
  const [left, top, right, bottom] = ["left", "top", "right", "bottom"].map((edge) => area[edge] * scale);
  if (said.kind === "mask") {
    const { width, height, values } = said.mask, data = new Uint8ClampedArray(4 * width * height);
    values.forEach((value, i) => { if (value >= 0.5) data.set([...ACCENT, 150], 4 * i); });
    context.imageSmoothingEnabled = false;
    context.drawImage(paint(element("canvas"), { width, height, data }), left, top, right - left, bottom - top);
  }
  const style = `rgb(${ACCENT})`, cut = (value, most) => Math.min(most, Math.max(0, value));
  Object.assign(context, { lineWidth: 3, strokeStyle: style, fillStyle: style, font: "600 14px sans-serif" });
  for (const { label, share, box } of said.kind === "boxes" ? said.rows : []) {
    const [l, r] = [box[0], box[2]].map((x) => cut(left + (x * (right - left)) / preprocessing.width, canvas.width));
    const [t, b] = [box[1], box[3]].map((y) => cut(top + (y * (bottom - top)) / preprocessing.height, canvas.height));
    context.strokeRect(l, t, r - l, b - t);
    context.fillText(`${label} ${percent(share)}`, l + 4, t > 18 ? t - 5 : t + 16);
  }
  canvas.setAttribute("role", "img");
  const over = said.kind === "mask" ? "a mask" : "boxes";
  canvas.setAttribute("aria-label", `The picture, with ${over} over it: ${said.short}`);
  return canvas;
}
