// onnxruntime-web: loading it, opening a model on one of its back ends, and choosing the back end by the golden
// samples. Knows no picture and no page.
import { numbers, readArrays } from "./arrays.js";
import { checkedFile } from "./checksum.js";
import { replay } from "./replay.js";

// The library itself, from the app's own files.
export async function loadEngine(app, source, { webgpu, threads }) {
  const kind = app.engine[webgpu ? "webgpu" : "wasm"], ort = await import(await source.address(kind.script));
  ort.env.logLevel = "error";
  ort.env.wasm.numThreads = threads;
  ort.env.wasm.wasmPaths = { mjs: await source.address(kind.glue) };
  ort.env.wasm.wasmBinary = await checkedFile(source, kind.binary, app.engine.files[kind.binary]);
  return { ort, threads, providers: webgpu ? ["webgpu", "wasm"] : ["wasm"] };
}

// A model in an engine: `run` takes {name: {dtype, shape, values}} and gives {name: Float64Array}.
async function openModel({ ort }, content, provider) {
  const session = await ort.InferenceSession.create(content, { executionProviders: [provider], logSeverityLevel: 3 });
  return {
    async run(feeds) {
      const given = {}, found = {};
      for (const [name, { dtype, values, shape }] of Object.entries(feeds)) {
        given[name] = new ort.Tensor(dtype, values, shape);
      }
      const answers = await session.run(given);
      for (const [name, tensor] of Object.entries(answers)) {
        found[name] = numbers(tensor.data, tensor.type);
        tensor.dispose();
      }
      return found;
    },
    release: () => session.release(),
  };
}

const plain = (error) => String(error?.message ?? error).split("\n")[0].slice(0, 300);

// Checks a bundle's files, then tries its back ends in turn: the first that passes the golden samples is used.
// Gives {golden, model, provider, check, tried}; `model` is null where none passes, and `tried` says why.
export async function openBundle(bundle, source, engine, onSample) {
  const files = {};
  for (const [name, due] of Object.entries(bundle.files)) {
    files[name] = await checkedFile(source, `${bundle.folder}/${name}`, due);
  }
  const golden = readArrays(files[bundle.golden.file], bundle.golden.file), tried = [];
  for (const provider of engine.providers) {
    let model;
    try {
      model = await openModel(engine, files[bundle.model], provider);
      const check = await replay(model, golden, bundle, onSample);
      const error = check.passed ? "" : "its answers to the golden samples are not the recorded ones";
      tried.push({ provider, check, error });
      if (check.passed) return { bundle, golden, model, provider, check, tried };
    } catch (error) {
      tried.push({ provider, check: null, error: plain(error) });
    }
    await model?.release();
  }
  return { bundle, golden, model: null, provider: "", check: tried.at(-1).check, tried };
}
