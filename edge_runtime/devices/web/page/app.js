// The page: starts the engine, lets each bundle prove itself, takes an input, and shows the answers side by side.
import { APP } from "./contract.js";
import { samplesOf } from "./replay.js";
import { loadEngine, openBundle } from "./engine.js";
import { toPicture } from "./picture.js";
import { $, arraysOf, camera, decode, element, paint, rowOf, textOf } from "./inputs.js";
import { shown, show } from "./show.js";
import { cardOf } from "./view.js";
import { sourceOf } from "./source.js";

const MOST_TILES = 96, INSTALL_MS = 120_000, MOST_THREADS = 4;
const working = []; // the bundles that passed

function say(text, { bad = false, share = null } = {}) {
  Object.assign($("status"), { textContent: text, className: bad ? "status bad" : "status", hidden: !text });
  $("progress").hidden = bad || !text;
  if (share === null) $("progress").removeAttribute("value");
  else $("progress").value = share;
}

function trouble(error) {
  Object.assign($("trouble"), { textContent: error ? `Not answered: ${error.message}.` : "", hidden: !error });
}

// Does what an input asks for, and says what is wrong with it.
const given = (make) => async (...what) => {
  try {
    trouble(null);
    await show(working, await make(...what));
  } catch (error) {
    trouble(error);
  }
};

// Keeps the app for use offline; its worker also sends the headers that threads need, which takes one reload.
async function install() {
  if (APP.single_file || !isSecureContext || !navigator.serviceWorker) return;
  try {
    if (!navigator.serviceWorker.controller) say(`Keeping the app on this device, ${APP.size} …`);
    const { installing } = await navigator.serviceWorker.register("sw.js");
    await Promise.race([navigator.serviceWorker.ready, new Promise((_, fails) => {
      setTimeout(fails, INSTALL_MS);
      installing?.addEventListener("statechange", () => installing.state === "redundant" && fails());
    })]);
    if (crossOriginIsolated || sessionStorage.getItem("edgekit reloaded")) return;
    sessionStorage.setItem("edgekit reloaded", "yes");
    location.reload();
    await new Promise(() => {}); // the page ends here
  } catch { /* then it works without being kept, and on one thread */ }
}

async function start() {
  const source = sourceOf(APP), cores = Math.min(MOST_THREADS, navigator.hardwareConcurrency || 1);
  const webgpu = Boolean(APP.engine.webgpu && (await navigator.gpu?.requestAdapter().catch(() => null)));
  say("Loading the engine …");
  const engine = await loadEngine(APP, source, { webgpu, threads: globalThis.crossOriginIsolated ? cores : 1 });
  for (const [k, bundle] of APP.bundles.entries()) {
    const onSample = async (done, all) => {
      say(`Checking ${bundle.name}: sample ${done} of ${all} …`, { share: (k + done / all) / APP.bundles.length });
      if (done % 8 === 0) await new Promise((resolve) => setTimeout(resolve));
    };
    const refused = (error) => ({ bundle, model: null, tried: [{ error: error.message }] });
    const one = await openBundle(bundle, source, engine, onSample).catch(refused);
    $("cards").append(cardOf(one, engine));
    if (one.model) working.push(one);
  }
  if (!working.length) return say("No bundle of this app can be used in this browser. Each says why.", { bad: true });
  say("");
  offerInputs(working[0]);
  await offerSamples(working[0]);
}

// --- inputs
function offerInputs({ bundle: { inputs, preprocessing, task } }) {
  const ofPicture = async (what) => ({ picture: await decode(what), caption: what.name ?? "the camera's picture" });
  const ofArrays = async (what) => ({ tensors: await arraysOf(what, inputs), caption: what.name });
  const take = given(preprocessing ? ofPicture : ofArrays), text = task === "next_character", ways = $("ways");
  const typed = inputs.length === 1 && (text || inputs[0].shape.length === 2), button = (id, textContent, onclick) =>
    element("button", { type: "button", id, textContent, onclick });
  const file = element("input", { type: "file", accept: preprocessing ? "image/*" : ".npy,.npz" });
  file.onchange = async () => {
    if (file.files[0]) await take(file.files[0]);
    file.value = "";
  };
  if (typed && !preprocessing) {
    const what = text ? "Text to go on from" : `${inputs[0].shape[1]} numbers, with commas between them`;
    const field = element("textarea", { id: "typed", spellcheck: false, placeholder: what, ariaLabel: what });
    const make = () => ({ tensors: (text ? textOf : rowOf)(field.value, inputs), caption: "what you typed" });
    ways.append(element("div", { className: "field" }, field), button("go", "Answer", given(make)));
  }
  const what = preprocessing ? "Choose a picture" : inputs.length > 1 ? "Choose an .npz file" : "Choose a .npy file";
  if (!text) ways.append(element("label", { className: "file" }, what, file));
  if (preprocessing) {
    const invert = element("input", { type: "checkbox", id: "invert", onchange: given(() => shown.input) });
    const on = camera(given(ofPicture), trouble);
    if (navigator.mediaDevices?.getUserMedia) ways.append(button("camera-on", "Use the camera", on));
    ways.append(element("label", { className: "tick" }, invert, "Swap black and white"));
  }
  ways.firstChild.querySelector("textarea") ? $("go").classList.add("main") : ways.firstChild.classList.add("main");
  const taken = inputs.map(({ name, dtype, shape }) => `${name}, ${dtype} [${shape.join(", ")}]`).join("; ");
  const expects = preprocessing && `It expects ${preprocessing.expects}. You can also drop or paste a picture here.`;
  $("expects").textContent = expects || `It takes ${taken}.`;
  $("input").hidden = false;
  const dropping = (on) => (event) => { event.preventDefault(); document.body.classList.toggle("dropping", on); };
  Object.assign(document.body, { ondragover: dropping(true), ondragleave: dropping(false) });
  const first = ({ files }) => { if (files[0]) take(files[0]); };
  document.body.ondrop = (event) => { dropping(false)(event); first(event.dataTransfer); };
  document.onpaste = (event) => first(event.clipboardData);
}

async function offerSamples({ bundle, golden }) {
  const { inputs, preprocessing, labels, task } = bundle, { shape, values } = golden.get("targets");
  const known = ["classification", "next_character"].includes(task) && values.length === shape[0]; // one label each
  const short = labels.every((label) => label.length < 7); // they fit below a tile
  for (let i = 0; i < Math.min(bundle.golden.samples, MOST_TILES); i++) {
    const truth = known ? labels[Number(values[i])] ?? "" : "";
    const caption = `sample ${i + 1}${truth && `, which is ${truth}`}`;
    const tile = element("button", { type: "button", ariaLabel: caption, ariaPressed: "false" });
    const tensors = Object.values(samplesOf(golden, inputs, i));
    if (preprocessing) tile.append(paint(element("canvas"), toPicture(tensors[0], preprocessing)));
    if (truth || !preprocessing) tile.append(truth && short ? truth : String(i + 1));
    tile.onclick = given(() => {
      if ($("typed") && task !== "next_character") $("typed").value = Array.from(tensors[0].values, Number).join(", ");
      return { tensors, caption, tile };
    });
    $("tiles").append(tile);
  }
  $("samples").hidden = false;
  await $("tiles").firstChild.onclick();
}

install().then(start).catch((error) => say(`${error.message}.`, { bad: true }));
