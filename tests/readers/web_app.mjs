// Calls the modules of a web app under Node, for tests: `node web_app.mjs APP < JSON`, a list of [what, …arguments],
// and prints the list of what came out. Arrays travel as {dtype, shape, base64}.
import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const here = (path) => new URL(path, `${pathToFileURL(process.argv[2]).href}/`);
const load = (name) => import(here(`${name}.js`).href);
const [answers, checksum, array, replay, engines, pictures, { APP }] = await Promise.all(
  ["answers", "checksum", "arrays", "replay", "engine", "picture", "contract"].map(load));
const source = { bytes: async (path) => new Uint8Array(readFileSync(here(path))), address: async (path) => here(path).href };
const bytes = (base64) => new Uint8Array(Buffer.from(base64, "base64"));
const packed = ({ dtype, shape, values }) => ({ dtype, shape, base64: Buffer.from(values.buffer, values.byteOffset, values.byteLength).toString("base64") });
const floats = (values) => Float64Array.from(values, (value) => value ?? NaN);

const CALLS = {
  hash: (base64) => checksum.plainSha256(bytes(base64)),
  array: (base64) => packed(array.readArray(bytes(base64), "x.npy")),
  arrays: (base64) => [...array.readArrays(bytes(base64), "x.npz").keys()],
  half: (bits) => bits.map((one) => { const value = array.half(one); return Number.isFinite(value) ? value : String(value); }),
  compared: (holds, r, f, shape) => [replay.signalToNoise(floats(r), floats(f), shape[0]), replay.agreement(holds, floats(r), floats(f), shape)],
  codes: (text, length) => answers.characterCodes(text, length),
  found: (scores, boxes, labels, suppression) => answers.detections(floats(scores), floats(boxes), labels, suppression),
  read: (bundle, outputs) => answers.readAnswer(bundle, Object.fromEntries(Object.entries(outputs).map(([k, v]) => [k, floats(v)]))),
  picture({ width, height, rgba, contract, invert }) {
    const { tensor, seen } = pictures.toTensor({ width, height, data: bytes(rgba) }, contract, { invert });
    return { ...packed(tensor), seen };
  },
  async golden() { // every bundle's answers to its golden inputs, sample by sample
    const engine = await engines.loadEngine(APP, source, { webgpu: false, threads: 1 }), all = {};
    for (const bundle of APP.bundles) {
      const { model, golden, check } = await engines.openBundle(bundle, source, engine), found = {};
      for (let i = 0; i < bundle.golden.samples; i++) {
        for (const [name, values] of Object.entries(await model.run(replay.samplesOf(golden, bundle.inputs, i)))) (found[name] ??= []).push([...values]);
      }
      all[bundle.name] = { found, check };
    }
    return all;
  },
};

const results = [];
for (const [what, ...given] of JSON.parse(readFileSync(0, "utf8"))) {
  try {
    results.push(await CALLS[what](...given));
  } catch (error) {
    results.push({ error: error.message });
  }
}
process.stdout.write(JSON.stringify(results), () => process.exit(0));
