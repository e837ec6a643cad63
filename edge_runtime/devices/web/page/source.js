// Where the app's files come from: the folder that it lies in, or this very page, which holds them.
const failed = (path, why) => new Error(`${path} could not be read: ${why}. Reload the page, or copy the app again`);

const folder = {
  async bytes(path) {
    const answer = await fetch(path).catch((error) => { throw failed(path, error.message); });
    if (!answer.ok) throw failed(path, `the server answers ${answer.status}`);
    return new Uint8Array(await answer.arrayBuffer());
  },
  address: async (path) => new URL(path, document.baseURI).href,
};

const embedded = {
  async bytes(path) { // gzip in base64
    const text = document.getElementById(path)?.textContent;
    if (!text) throw failed(path, "this page does not hold it");
    const packed = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
    const plain = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Uint8Array(await new Response(plain).arrayBuffer());
  },
  async address(path) {
    return URL.createObjectURL(new Blob([await embedded.bytes(path)], { type: "text/javascript" }));
  },
};

export const sourceOf = (app) => (app.single_file ? embedded : folder);
