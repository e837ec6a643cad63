// The page: starts the engine, lets each bundle prove itself, and shows what the bundles answer, side by side.
import { APP } from "./contract.js";
import { median, numbers, samplesOf } from "./bundle.js";
import { loadEngine, openBundle } from "./engine.js";
import { toPicture, toTensor } from "./picture.js";
import { readAnswer, sameAnswer } from "./answers.js";
import { $, arraysOf, camera, decode, element, paint, rowOf, textOf } from "./inputs.js";
import { sourceOf } from "./source.js";

const FIRST = APP.bundles[0], PICTURES = FIRST.preprocessing !== null, MOST_TILES = 96, SHOWN_ROWS = 5, BLOCKS = 9;
const BACK_END = { wasm: "WebAssembly", webgpu: "WebGPU" };
const three = (value) => (Math.abs(value) < 999.5 ? String(Number(value.toPrecision(3))) : Math.round(value).toLocaleString("en"));
const msText = (ms) => (ms < 0.9995 ? `${three(ms * 1000)} µs` : ms < 999.5 ? `${three(ms)} ms` : `${three(ms / 1000)} s`);
const percent = (share) => (share === 1 || share === 0 ? `${100 * share} %` : `${(100 * share).toFixed(1)} %`);
const decibels = (db) => (db >= 200 ? "identical" : db <= -200 ? "not finite" : `${db.toFixed(1)} dB`);
const pause = () => new Promise((resolve) => setTimeout(resolve));
let engine = null, opened = [], turn = 0, last = null;

function say(text, { bad = false, share = null } = {}) {
  Object.assign($("status"), { textContent: text, className: bad ? "status bad" : "status", hidden: !text });
  Object.assign($("progress"), { hidden: bad || !text });
  if (share === null) $("progress").removeAttribute("value");
  else $("progress").value = share;
}

function trouble(error) {
  Object.assign($("trouble"), { textContent: error ? `${error.message}.` : "", hidden: !error });
}

// Keeps the app for use offline; its worker also sends the headers that threads need, which takes one reload.
async function install() {
  if (APP.single_file || !isSecureContext || !navigator.serviceWorker) return;
  try {
    const first = !navigator.serviceWorker.controller;
    if (first) say(`Keeping the app on this device, ${APP.size} …`);
    await navigator.serviceWorker.register("sw.js");
    await Promise.race([navigator.serviceWorker.ready, new Promise((_, reject) => setTimeout(reject, 120_000))]);
    if (crossOriginIsolated || sessionStorage.getItem("edgekit reloaded")) return;
    sessionStorage.setItem("edgekit reloaded", "yes");
    location.reload();
    await new Promise(() => {});
  } catch { /* it works without being kept, and without threads */ }
}

async function start() {
  const source = sourceOf(APP), threads = globalThis.crossOriginIsolated ? Math.min(4, navigator.hardwareConcurrency || 1) : 1;
  const webgpu = Boolean(APP.engine.webgpu && (await navigator.gpu?.requestAdapter().catch(() => null)));
  say("Loading the engine …");
  engine = await loadEngine(APP, source, { webgpu, threads });
  for (const [k, bundle] of APP.bundles.entries()) {
    const onSample = async (done, all) => {
      say(`Checking ${bundle.name}: sample ${done} of ${all} …`, { share: (k + done / all) / APP.bundles.length });
      if (done % 8 === 0) await pause();
    };
    const one = await openBundle(bundle, source, engine, onSample).catch((error) => ({ bundle, model: null, tried: [{ error: error.message }] }));
    opened.push(one);
    $("cards").append(cardOf(one));
  }
  const working = opened.filter(({ model }) => model);
  if (!working.length) return say("No bundle of this app can be used in this browser; each says why below.", { bad: true });
  say("");
  offerInputs(working[0]);
}

function cardOf(one) {
  const { bundle, model, provider, check, tried } = one, card = element("article", { className: "card" });
  const seal = element("span", { className: `seal ${bundle.tone}`, textContent: bundle.stamp || "verified" });
  card.append(element("header", {}, element("h2", { textContent: bundle.recipe }), seal),
    element("p", { className: "faint", textContent: `${bundle.name} · ${bundle.size}${bundle.smaller && ` · ${bundle.smaller}`}` }));
  if (bundle.why) card.append(element("p", { className: `warn ${bundle.tone}`, textContent: `${bundle.stamp}: ${bundle.why}.` }));
  card.append(one.answer = element("div", { className: "answer" }));
  const facts = element("dl"), fact = (name, ...what) => facts.append(element("dt", { textContent: name }), element("dd", {}, ...what));
  if (!model) card.append(element("p", { className: "warn bad", role: "alert", textContent: `Not used: ${tried.at(-1).error}.` }));
  one.latency = element("dd", { textContent: "–" });
  if (model) facts.append(element("dt", { textContent: "Time" }), one.latency);
  if (bundle.metric) fact("Measured", bundle.metric);
  for (const { output, max_abs, sqnr_db, agreement, passed } of check?.outputs ?? []) {
    const mark = element("span", { className: passed ? "pass" : "fail", textContent: passed ? "passed" : "failed" });
    fact("Self-test", mark, ` on ${check.samples} samples${check.outputs.length > 1 ? `, ${output}` : ""}: max |Δ| ` +
      `${three(max_abs)}, ${decibels(sqnr_db)}, ${percent(agreement)} agree (${bundle.held_to[output]})`);
  }
  if (check) fact("Per sample", `${msText(check.median_ms)}, the median of the self-test`);
  const failed = tried.filter(({ provider: name }) => name && name !== provider);
  if (model) fact("Back end", `${BACK_END[provider]}${provider === "wasm" ? `, ${engine.threads} thread${engine.threads > 1 ? "s" : ""}` : ""}` +
    failed.map(({ provider: name, error }) => `; not ${BACK_END[name]}: ${error}`).join(""));
  card.append(facts);
  return card;
}

// --- inputs
function offerInputs({ golden }) {
  const ways = $("ways"), given = (make) => async (...what) => {
    try {
      trouble(null);
      await show(await make(...what));
    } catch (error) {
      trouble(error);
    }
  };
  const file = (text, accept, make) => {
    const input = element("input", { type: "file", accept, onchange: () => { if (input.files[0]) given(make)(input.files[0]); input.value = ""; } });
    return element("label", { className: "file main" }, text, input);
  };
  const ofPicture = async (what) => ({ picture: await decode(what), caption: what.name ?? "the camera's picture" });
  const ofArrays = async (what) => ({ tensors: await arraysOf(what, FIRST.inputs), caption: what.name });
  if (PICTURES) {
    const invert = element("input", { type: "checkbox", id: "invert", onchange: () => last?.picture && show(last) });
    ways.append(file("Choose a picture", "image/*", ofPicture));
    if (navigator.mediaDevices?.getUserMedia) ways.append(element("button", { type: "button", id: "camera-on", textContent: "Use the camera", onclick: camera(given(ofPicture), trouble) }));
    ways.append(element("label", { className: "tick" }, invert, "Swap black and white"));
    $("expects").textContent = `It expects ${FIRST.preprocessing.expects}. You can also drop or paste a picture here.`;
  } else {
    const [spec] = FIRST.inputs, text = FIRST.task === "next_character", typed = FIRST.inputs.length === 1 && (text || spec.shape.length === 2);
    const make = text ? textOf : rowOf, field = element("textarea", { id: "typed", spellcheck: false });
    field.setAttribute("aria-label", text ? "Text to go on from" : `${spec.shape[1]} numbers with commas between them`);
    field.placeholder = text ? "Text to go on from" : `${spec.shape[1]} numbers, with commas between them`;
    if (typed) ways.append(element("div", { className: "field" }, field), element("button", { type: "button", className: "main", id: "go", textContent: "Answer", onclick: given(() => ({ tensors: make(field.value, FIRST.inputs), caption: "what you typed" })) }));
    if (!text) ways.append(file(typed ? "Choose a .npy file" : FIRST.inputs.length > 1 ? "Choose an .npz file" : "Choose a .npy or .npz file", ".npy,.npz", ofArrays));
    $("expects").textContent = `It takes ${FIRST.inputs.map(({ name, dtype, shape }) => `${name}, ${dtype} [${shape.join(", ")}]`).join("; ")}.`;
  }
  const take = PICTURES ? ofPicture : ofArrays, take_one = (list) => { if (list?.[0]) given(take)(list[0]); };
  document.body.ondragover = (event) => { event.preventDefault(); document.body.classList.add("dropping"); };
  document.body.ondragleave = () => document.body.classList.remove("dropping");
  document.body.ondrop = (event) => { event.preventDefault(); document.body.classList.remove("dropping"); take_one(event.dataTransfer.files); };
  document.onpaste = (event) => take_one(event.clipboardData.files);
  offerSamples(golden, given);
  for (const id of ["input", "samples"]) $(id).hidden = false;
}

function offerSamples(golden, given) {
  const count = Math.min(FIRST.golden.samples, MOST_TILES);
  for (let i = 0; i < count; i++) {
    const truth = truthOf(golden, i), tile = element("button", { type: "button" }), tensors = Object.values(samplesOf(golden, FIRST.inputs, i));
    tile.setAttribute("aria-pressed", "false");
    tile.setAttribute("aria-label", `Sample ${i + 1}${truth && `, which is ${truth}`}`);
    if (PICTURES) tile.append(paint(element("canvas"), toPicture(tensors[0], FIRST.preprocessing)));
    if (truth || !PICTURES) tile.append(truth && truth.length < 9 ? truth : String(i + 1));
    tile.onclick = given(() => {
      if ($("typed") && FIRST.task !== "next_character") $("typed").value = Array.from(tensors[0].values, Number).join(", ");
      return { tensors, caption: `sample ${i + 1}${truth && `, which is ${truth}`}`, tile };
    });
    $("tiles").append(tile);
  }
  $("tiles").firstChild?.click();
}

function truthOf(golden, i) {
  const { shape, values } = golden.get("targets"), width = values.length / shape[0];
  return ["classification", "next_character"].includes(FIRST.task) && width === 1 ? FIRST.labels[Number(values[i])] ?? "" : "";
}

// --- answers
const tensorsOf = ({ picture, tensors }, { preprocessing }) => (picture ? toTensor(picture, preprocessing, { invert: $("invert").checked }) : { tensor: tensors[0], tensors, seen: null });

async function show(input) {
  const mine = ++turn, working = opened.filter(({ model }) => model);
  last = input;
  document.querySelectorAll(".tiles [aria-pressed]").forEach((tile) => tile.setAttribute("aria-pressed", String(tile === input.tile)));
  for (const one of working) {
    one.given = tensorsOf(input, one.bundle);
    one.feeds = Object.fromEntries(one.bundle.inputs.map(({ name }, k) => [name, (one.given.tensors ?? [one.given.tensor])[k]]));
  }
  $("answers").hidden = false;
  $("seen").hidden = !PICTURES;
  if (PICTURES) paint($("seen-pixels"), toPicture(working[0].given.tensor, FIRST.preprocessing));
  $("seen-text").textContent = PICTURES ? `What the model sees of ${input.caption}: ${FIRST.preprocessing.width} × ${FIRST.preprocessing.height} pixels` : "";
  for (const one of working) {
    one.said = readAnswer(one.bundle, await one.model.run(one.feeds));
    if (mine !== turn) return;
    one.answer.replaceChildren(...answerOf(one, input));
  }
  compare(working);
  await measure(working, mine);
}

function compare(working) {
  const [first, ...others] = working.map(({ said }) => said), verdict = $("verdict");
  const same = others.every((said) => sameAnswer(first, said)), all = others.length > 1 ? "All" : "Both";
  const each = working.map(({ bundle, said }) => `${bundle.recipe} says ${said.short}`).join(", ");
  verdict.className = `verdict ${others.length ? (same ? "good" : "bad") : ""}`;
  verdict.textContent = !others.length ? `It says ${first.short}.` : same ? `${all} say ${first.short}.` : `They disagree: ${each}.`;
}

function answerOf({ bundle, said, given }, input) {
  const rows = element("ol", { className: "rows" }), amount = ({ share, value }) => (share === undefined ? three(value) : percent(share));
  for (const row of said.rows.slice(0, said.kind === "numbers" ? 64 : SHOWN_ROWS)) {
    const line = element("li", {}, element("span", { textContent: row.label }), element("span", { className: "amount", textContent: amount(row) }));
    if (row.share !== undefined) {
      const bar = element("i");
      bar.style.width = `${100 * row.share}%`;
      line.append(element("span", { className: "bar", ariaHidden: "true" }, bar));
    }
    rows.append(line);
  }
  const big = element("p", { className: "big" }, element("b", { textContent: said.short }));
  if (said.kind === "ranking") big.append(element("span", { textContent: percent(said.rows[0].share) }));
  const drawn = said.kind === "mask" || said.kind === "boxes" ? [drawingOf(said, input.picture ?? toPicture(given.tensor, bundle.preprocessing), given.seen, bundle)] : [];
  return said.kind === "mask" ? [...drawn, rows] : [big, ...drawn, rows];
}

// The mask or the boxes over the picture, at most 640 pixels on a side.
function drawingOf(said, picture, seen, { inputs: [{ shape }], preprocessing }) {
  const scale = Math.min(1, 640 / Math.max(picture.width, picture.height)) * Math.max(1, Math.floor(320 / Math.max(picture.width, picture.height)));
  const canvas = element("canvas", { className: "drawn", width: Math.round(picture.width * scale), height: Math.round(picture.height * scale) });
  const context = canvas.getContext("2d"), accent = "#ff4d8d";
  context.imageSmoothingEnabled = scale <= 1;
  context.drawImage(paint(element("canvas"), picture), 0, 0, canvas.width, canvas.height);
  const { left, top, right, bottom } = seen ?? { left: 0, top: 0, right: picture.width, bottom: picture.height };
  if (said.kind === "mask") {
    const { width, height, values } = said.mask, data = new Uint8ClampedArray(4 * width * height);
    values.forEach((value, i) => { if (value >= 0.5) data.set([255, 77, 141, 150], 4 * i); });
    context.imageSmoothingEnabled = false;
    context.drawImage(paint(element("canvas"), { width, height, data }), left * scale, top * scale, (right - left) * scale, (bottom - top) * scale);
  }
  const [height, width] = preprocessing ? [preprocessing.height, preprocessing.width] : shape.slice(-2);
  Object.assign(context, { lineWidth: 3, strokeStyle: accent, fillStyle: accent, font: "600 14px system-ui, sans-serif" });
  for (const { label, share, box } of said.kind === "boxes" ? said.rows : []) {
    const place = (value, from, to, size, most) => Math.min(most, Math.max(0, from + (value * (to - from)) / size)) * scale;
    const [l, r] = [box[0], box[2]].map((x) => place(x, left, right, width, picture.width));
    const [t, b] = [box[1], box[3]].map((y) => place(y, top, bottom, height, picture.height));
    context.strokeRect(l, t, r - l, b - t);
    context.fillText(`${label} ${percent(share)}`, l + 4, t > 18 ? t - 5 : t + 16);
  }
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", `The picture with ${said.kind === "mask" ? "what belongs to it marked" : "boxes around what was found"}: ${said.short}`);
  return canvas;
}

// Each bundle in turn, blocks of runs that last long enough for the browser's clock.
async function measure(working, mine) {
  const times = working.map(() => []);
  for (let block = 0; block <= BLOCKS; block++) {
    for (const [k, one] of working.entries()) {
      const runs = one.runs ?? 1, begin = performance.now();
      for (let i = 0; i < runs; i++) await one.model.run(one.feeds);
      const each = (performance.now() - begin) / runs;
      if (block) times[k].push(each); // the first says how many runs a block needs
      else one.runs = Math.max(1, Math.min(500, Math.ceil(10 / Math.max(each, 0.02))));
      await pause();
      if (mine !== turn) return;
    }
  }
  working.forEach((one, k) => {
    const ms = median(times[k]), ratio = median(times[0]) / ms, faster = ratio > 1 ? `${three(ratio)}× faster` : `${three(1 / ratio)}× slower`;
    const than = k === 0 ? "" : `, ${Math.max(ratio, 1 / ratio) < 1.1 ? "about as fast" : faster} than ${working[0].bundle.recipe}`;
    one.latency.textContent = `${msText(ms)}${than}; median of ${BLOCKS * one.runs} runs in this browser`;
  });
  document.body.dataset.measured = String(mine);
}

install().then(start).catch((error) => say(`${error.message}.`, { bad: true }));
