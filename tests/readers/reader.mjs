// A reader of edgekit bundles of format 2, written from docs/BUNDLE.md alone. It knows nothing of the one in Python.
//   node reader.mjs BUNDLE [FOLDER]   opens and checks a folder or a .zip; with the folder that onnxruntime-web is
//                                     installed in it replays every program too. Prints one JSON object.
import { createHash } from "node:crypto";
import { lstatSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { crc32 } from "node:zlib";

const PLAIN = /^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/;
const sha256 = (...parts) => parts.reduce((hash, part) => hash.update(part), createHash("sha256")).digest("hex");
const before = (a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)) < 0; // by code point, as UTF-8 sorts
const sum = (count, term) => { let total = 0; for (let i = 0; i < count; i++) total += term(i); return total; };
const range = (count, term) => Array.from({ length: count }, (_, i) => term(i));
const product = (shape) => shape.reduce((a, b) => a * b, 1);
const need = (right, message) => { if (!right) throw new Error(message); };

// --- files: a folder, or the one form of a .zip
function openFolder(path) {
  const names = readdirSync(path);
  for (const name of names) need(lstatSync(join(path, name)).isFile(), `${name} is not a regular file`);
  return new Map(names.map((name) => [name, readFileSync(join(path, name))]));
}

function openZip(path) {
  const raw = readFileSync(path), end = raw.length - 22, files = new Map();
  need(end >= 0 && raw.readUInt32LE(end) === 0x06054b50 && raw.readUInt32LE(end + 4) === 0, "it has no end record");
  const count = raw.readUInt16LE(end + 8), directory = raw.readUInt32LE(end + 16);
  need(count > 0 && count <= 64 && raw.readUInt16LE(end + 10) === count && !raw.readUInt16LE(end + 20), "its end");
  let [at, next, last] = [directory, 0, ""];
  for (let i = 0; i < count; i++) {
    const crc = raw.readUInt32LE(at + 16), bytes = raw.readUInt32LE(at + 20), length = raw.readUInt16LE(at + 28);
    const data = next + 30 + length, name = raw.toString("latin1", at + 46, at + 46 + length);
    need(PLAIN.test(name) && (i ? i === 1 || before(last, name) : name === "manifest.json"), `the name ${name}`);
    const local = Buffer.alloc(30), central = Buffer.alloc(46); // what they must be, byte for byte
    [[0, 0x04034b50], [14, crc], [18, bytes], [22, bytes]].forEach(([o, v]) => local.writeUInt32LE(v, o));
    [[4, 20], [12, 33], [26, length]].forEach(([o, v]) => local.writeUInt16LE(v, o));
    local.copy(central, 6, 4);
    [[0, 0x02014b50], [38, (0o100644 << 16) >>> 0], [42, next]].forEach(([o, v]) => central.writeUInt32LE(v, o));
    central.writeUInt16LE(788, 4);
    need(!raw.compare(central, 0, 46, at, at + 46) && !raw.compare(local, 0, 30, next, next + 30), `header of ${name}`);
    const twice = [...files.keys()].some((other) => other.toLowerCase() === name.toLowerCase());
    need(raw.toString("latin1", next + 30, data) === name && !twice && data + bytes <= directory, `header of ${name}`);
    files.set(name, raw.subarray(data, data + bytes));
    need(crc32(files.get(name)) === crc, `${name} is damaged`);
    [at, next, last] = [at + 46 + length, data + bytes, name];
  }
  need(next === directory && at === end && end - directory === raw.readUInt32LE(end + 12), "its members leave gaps");
  return files;
}

// --- manifest.json: checksum and canonical form
function number(token) { // as Python writes it: whole, or the shortest text with a point or an exponent
  if (/^(0|-?[1-9]\d*)$/.test(token)) return token;
  const [digits, exponent] = Math.abs(Number(token)).toExponential().split("e");
  const e = Number(exponent), d = digits.replace(".", ""), sign = token.startsWith("-") ? "-" : "";
  const power = (e < 0 ? "-" : "+") + String(Math.abs(e)).padStart(2, "0");
  if (e < -4 || e > 15) return sign + d[0] + (d[1] ? "." + d.slice(1) : "") + "e" + power;
  if (e < 0) return `${sign}0.${"0".repeat(-e - 1)}${d}`;
  return `${sign}${d.slice(0, e + 1).padEnd(e + 1, "0")}.${d.slice(e + 1) || "0"}`;
}

function canonical(text) { // the one way of writing the same tokens; of what is no JSON, some other text
  const open = []; // the last key of each object that is open, "" in a list
  let out = "", last = "";
  for (const token of text.match(/"(?:[^"\\]|\\.)*"|[{}[\]:,]|[^\s{}[\]:,"]+/g) ?? []) {
    if (token === "}" || token === "]") open.pop();
    const begins = "{[,".includes(last) ? !":,".includes(token) && last : "}]".includes(token);
    if (begins && !("{[".includes(last) && "}]".includes(token))) out += "\n" + "  ".repeat(open.length);
    if (token === ":") {
      need(open.at(-1) === "" || before(open.at(-1), JSON.parse(last)), `${last} is out of order`);
      open[open.length - 1] = JSON.parse(last);
    }
    if (token === "{" || token === "[") need(open.push("") <= 16, "nested more than 16 deep");
    if (token[0] === '"') out += JSON.stringify(JSON.parse(token));
    else out += token === ":" ? ": " : /^[\d-]/.test(token) ? number(token) : token;
    last = token;
  }
  return out + "\n";
}

function readManifest(raw) {
  need(raw?.length <= 4194304, "it has no manifest.json, or a longer one than is read");
  const text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(raw), written = canonical(text);
  const manifest = JSON.parse(text), line = `\n  "sha256": "${manifest.sha256}",`, at = text.indexOf(line);
  need(manifest.format_version <= 2, "it is of a newer format: upgrade edgekit");
  need(manifest.format_version === 2, "this reader knows format 2 alone");
  need(at > 0 && sha256(text.slice(0, at), text.slice(at + line.length)) === manifest.sha256, "its checksum is wrong");
  need(written === text, "it is not in canonical form");
  return manifest;
}

// --- golden files
const KINDS = { "|u1": ["uint8", Uint8Array], "|i1": ["int8", Int8Array], "<i4": ["int32", Int32Array],
  "<i8": ["int64", BigInt64Array], "<f4": ["float32", Float32Array], "<f8": ["float64", Float64Array] };

function readArray(raw, name) {
  const data = 10 + raw.readUInt16LE(8), header = raw.toString("latin1", 10, data);
  const found = /^\{'descr': '(.+?)', 'fortran_order': False, 'shape': \((.*?),?\), \} *\n$/.exec(header);
  need(raw.toString("latin1", 0, 8) === "\x93NUMPY\x01\x00" && found && KINDS[found[1]], `${name}: another header`);
  const shape = found[2] ? found[2].split(", ").map(Number) : [], [dtype, Kind] = KINDS[found[1]];
  need(raw.length === data + product(shape) * Kind.BYTES_PER_ELEMENT, `${name} is not as long as its shape says`);
  return { dtype, shape, values: new Kind(new Uint8Array(raw.subarray(data)).buffer) };
}

function readGolden(raw, { inputs, outputs, engines, golden }) {
  const wanted = new Map([["targets.npy", null]]), arrays = new Map(), end = raw.length - 22;
  const packed = engines.map((run) => [`packed/${run.name}-${run.precision}`, outputs]);
  for (const [group, specs] of [["inputs", inputs], ["outputs", outputs], ...packed]) {
    for (const spec of specs) wanted.set(`${group}/${spec.name}.npy`, spec);
  }
  need(end >= 0 && raw.readUInt32LE(end) === 0x06054b50 && !raw.readUInt16LE(end + 20), "it has no end record");
  const count = raw.readUInt16LE(end + 10), size = raw.readUInt32LE(end + 12);
  const fits = size <= 410 * count && raw.readUInt32LE(end + 16) + size === end;
  need(count === wanted.size && fits, `it has ${count} members, where ${wanted.size} are due`);
  for (let at = end - size; at < end; at += 46 + raw.readUInt16LE(at + 28) + raw.readUInt16LE(at + 30)) {
    const name = raw.toString("latin1", at + 46, at + 46 + raw.readUInt16LE(at + 28)), spec = wanted.get(name);
    need(spec !== undefined && !arrays.has(name) && raw.readUInt16LE(at + 10) === 0, `${name} should not be there`);
    const local = raw.readUInt32LE(at + 42), lengths = raw.readUInt16LE(local + 26) + raw.readUInt16LE(local + 28);
    const content = raw.subarray(local + 30 + lengths, local + 30 + lengths + raw.readUInt32LE(at + 24));
    const array = readArray(content, name), due = [golden.samples, ...(spec ?? array).shape.slice(1)];
    need(crc32(content) === raw.readUInt32LE(at + 16), `${name} is damaged`);
    need((!spec || spec.dtype === array.dtype) && `${due}` === `${array.shape}`, `${name} is [${array.shape}]`);
    arrays.set(name, array);
  }
  need(arrays.size === wanted.size, "members are missing");
  return arrays;
}

// --- replay
function signalToNoise(r, f, samples) { // of what varies between samples, in dB
  const width = r.length / samples, columns = range(width, (k) => range(samples, (i) => r[i * width + k]));
  if (![...r, ...f].every(Number.isFinite)) return -200;
  const spread = Math.max(...columns.map((column) => Math.max(...column) - Math.min(...column)));
  const varies = samples > 1 && spread > 1e-6 * Math.max(...r.map(Math.abs));
  const mean = columns.map((column) => (varies ? sum(samples, (i) => column[i]) / samples : 0));
  const signal = sum(r.length, (i) => (r[i] - mean[i % width]) ** 2), noise = sum(r.length, (i) => (r[i] - f[i]) ** 2);
  if (noise === 0 || signal === 0) return noise === 0 ? 200 : -200;
  return Math.min(200, Math.max(-200, 10 * Math.log10(signal / noise)));
}

function agreement(holds, r, f, shape) {
  const share = (count, agrees) => sum(count, agrees) / count, tokens = holds === "token_probabilities";
  if (tokens || ["probabilities", "logits", "log_probabilities"].includes(holds)) {
    const labels = shape.at(tokens ? -1 : 1), inner = tokens ? 1 : product(shape.slice(2));
    const along = (x, j) => range(labels, (c) => x[(Math.floor(j / inner) * labels + c) * inner + (j % inner)]);
    const top = (x) => (x.some(Number.isNaN) ? NaN : x.indexOf(Math.max(...x)));
    return share(r.length / labels, (j) => top(along(r, j)) === top(along(f, j)));
  }
  const cut = { independent_logits: 0, independent_probabilities: 0.5, mask: 0.5 }[holds];
  const finite = r.filter(Number.isFinite), most = Math.max(...finite);
  const span = most - Math.min(...finite) || Math.abs(most);
  if (cut !== undefined) return share(r.length, (i) => (f[i] >= cut) === (r[i] >= cut) && !Number.isNaN(r[i] + f[i]));
  return share(r.length, (i) => (holds === "classes" ? r[i] === f[i] : Math.abs(r[i] - f[i]) <= 0.02 * span));
}

async function replay({ name: program, artifact, inputs, outputs, golden: { samples, floors } }, model, golden, ort) {
  need(artifact.format === "onnx", `there is no engine for ${artifact.format} here`);
  const session = await ort.InferenceSession.create(new Uint8Array(model)), found = {};
  for (let i = 0, feeds = {}; i < samples; i++, feeds = {}) {
    for (const { name, dtype, shape } of inputs) {
      const { values } = golden.get(`inputs/${name}.npy`), width = values.length / samples;
      feeds[name] = new ort.Tensor(dtype, values.slice(i * width, (i + 1) * width), [1, ...shape.slice(1)]);
    }
    const answers = await session.run(feeds);
    for (const { name } of outputs) (found[name] ??= []).push(...Array.from(answers[name].data, Number));
  }
  return outputs.map(({ name: output, holds }) => {
    const { values, shape } = golden.get(`outputs/${output}.npy`), r = Array.from(values, Number), f = found[output];
    const sqnr_db = signalToNoise(r, f, samples), agrees = agreement(holds, r, f, shape), floor = floors[output];
    const max_abs = Math.max(...r.map((x, i) => Math.abs(x - f[i])));
    const passed = (floor.sqnr_db ?? -200) <= sqnr_db && (floor.agreement ?? 0) <= agrees;
    const near = max_abs <= (floor.max_abs ?? Infinity);
    return { program, output, sqnr_db, agreement: agrees, max_abs, passed: passed && near };
  });
}

async function main(path, installed) {
  const files = lstatSync(path).isDirectory() ? openFolder(path) : openZip(path), results = [];
  const manifest = readManifest(files.get("manifest.json")), known = new Set(["manifest.json", "model.sig"]);
  for (const { file, bytes, sha256: due } of manifest.programs.flatMap(({ artifact, golden }) => [artifact, golden])) {
    const content = files.get(file);
    need(PLAIN.test(file) && content?.length === bytes && sha256(content) === due, `${file} is not what it was`);
    known.add(file);
  }
  for (const name of files.keys()) need(known.has(name), `${name} is no part of the bundle`);
  const dist = join(installed ?? "", "node_modules", "onnxruntime-web", "dist", "ort.node.min.mjs");
  const ort = installed && (await import(pathToFileURL(dist).href));
  for (const program of manifest.programs) {
    const golden = readGolden(files.get(program.golden.file), program);
    if (ort) results.push(...(await replay(program, files.get(program.artifact.file), golden, ort)));
  }
  return { name: manifest.name, status: manifest.status, results };
}

main(...process.argv.slice(2)).catch((error) => ({ error: error.message })).then((found) => {
  console.log(JSON.stringify(found));
  process.exitCode = found.error ? 1 : 0;
});
