// `node check.js`: the self-test of this app without a browser, by the same engine. Prints one line of JSON, and ends
// with 1 where a bundle fails.
import { readFileSync } from "node:fs";
import { APP } from "./contract.js";
import { loadEngine, openBundle } from "./engine.js";

const here = (path) => new URL(path, import.meta.url);
const source = {
  bytes: async (path) => new Uint8Array(readFileSync(here(path))),
  address: async (path) => here(path).href,
};

async function main() {
  const engine = await loadEngine(APP, source, { webgpu: false, threads: 1 }), results = [];
  for (const bundle of APP.bundles) {
    const { model, check, tried } = await openBundle(bundle, source, engine);
    const { error } = tried.at(-1);
    results.push({ name: bundle.name, passed: model !== null, error, outputs: check?.outputs ?? [] });
  }
  return { engine: `onnxruntime-web ${engine.ort.env.versions.web}`, bundles: results };
}

const found = await main().catch((error) => ({ error: error.message, bundles: [] }));
const passed = !found.error && found.bundles.every((bundle) => bundle.passed);
// Ended by hand: Node would go on compiling WebAssembly that nobody runs any more.
process.stdout.write(`${JSON.stringify(found)}\n`, () => process.exit(passed ? 0 : 1));
