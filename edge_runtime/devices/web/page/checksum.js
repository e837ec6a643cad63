// Checksums of the app's files. Knows nothing of what is in them.
const ROTATE = (x, n) => (x >>> n) | (x << (32 - n));
const ROOTS = (() => { // the first 32 bits of the fractions of square and cube roots of the primes, as FIPS 180-4 says
  const primes = [];
  for (let n = 2; primes.length < 64; n++) if (primes.every((prime) => n % prime)) primes.push(n);
  const bits = (root) => ((root - Math.floor(root)) * 2 ** 32) | 0;
  return { start: primes.slice(0, 8).map((p) => bits(Math.sqrt(p))), rounds: primes.map((p) => bits(Math.cbrt(p))) };
})();

// SHA-256 without the browser's own, which pages without https do not get.
export function plainSha256(bytes) {
  const padded = new Uint8Array((((bytes.length + 8) >> 6) + 1) << 6), view = new DataView(padded.buffer);
  padded.set(bytes);
  padded[bytes.length] = 0x80;
  view.setUint32(padded.length - 8, Math.floor(bytes.length / 2 ** 29));
  view.setUint32(padded.length - 4, (bytes.length << 3) >>> 0);
  const state = Int32Array.from(ROOTS.start), w = new Int32Array(64);
  for (let at = 0; at < padded.length; at += 64) {
    for (let i = 0; i < 16; i++) w[i] = view.getInt32(at + 4 * i);
    for (let i = 16; i < 64; i++) {
      const a = w[i - 15], b = w[i - 2];
      const mixed = (ROTATE(a, 7) ^ ROTATE(a, 18) ^ (a >>> 3)) + (ROTATE(b, 17) ^ ROTATE(b, 19) ^ (b >>> 10));
      w[i] = w[i - 16] + w[i - 7] + mixed;
    }
    let [a, b, c, d, e, f, g, h] = state;
    for (let i = 0; i < 64; i++) {
      const choice = (ROTATE(e, 6) ^ ROTATE(e, 11) ^ ROTATE(e, 25)) + ((e & f) ^ (~e & g));
      const one = (h + choice + ROOTS.rounds[i] + w[i]) | 0;
      const two = ((ROTATE(a, 2) ^ ROTATE(a, 13) ^ ROTATE(a, 22)) + ((a & b) ^ (a & c) ^ (b & c))) | 0;
      [a, b, c, d, e, f, g, h] = [(one + two) | 0, a, b, c, (d + one) | 0, e, f, g];
    }
    [a, b, c, d, e, f, g, h].forEach((value, i) => { state[i] += value; });
  }
  return Array.from(state, (word) => (word >>> 0).toString(16).padStart(8, "0")).join("");
}

export async function sha256(bytes) {
  if (!globalThis.crypto?.subtle) return plainSha256(bytes);
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

// A file of the app, refused unless it has just the bytes that the app was written with.
export async function checkedFile(source, path, [bytes, due]) {
  const content = await source.bytes(path), found = content.length === bytes ? await sha256(content) : "";
  if (found === due) return content;
  const hashes = `its SHA-256 begins ${found.slice(0, 12)}, and not ${due.slice(0, 12)}`;
  const what = found ? hashes : `it has ${content.length} bytes, and not ${bytes}`;
  const wrong = `${path} is not the file that this app was written with: ${what}`;
  throw new Error(`${wrong}. It was not loaded. Copy the app again`);
}
