// Arrays in .npy and .npz files, as docs/BUNDLE.md says ("Golden files").
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

export function half(bits) { // a float16 by its bits
  const sign = bits & 0x8000 ? -1 : 1, exponent = (bits >> 10) & 31, fraction = bits & 1023;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return sign * (exponent ? 2 ** (exponent - 15) * (1 + fraction / 1024) : 2 ** -14 * (fraction / 1024));
}

export function numbers(values, dtype) {
  return Float64Array.from(values, dtype === "float16" && values instanceof Uint16Array ? half : Number);
}
