// Where an input comes from: a picture's file, the camera, a form, or one of the bundle's own samples. Runs no model.
import { numbers, product, readArray, readArrays } from "./arrays.js";
import { characterCodes } from "./answers.js";

export const $ = (id) => document.getElementById(id);

export function element(tag, attributes = {}, ...children) {
  const made = Object.assign(document.createElement(tag), attributes);
  made.append(...children);
  return made;
}

// Puts RGBA pixels {width, height, data} on a canvas.
export function paint(canvas, { width, height, data }) {
  Object.assign(canvas, { width, height });
  canvas.getContext("2d").putImageData(new ImageData(new Uint8ClampedArray(data), width, height), 0, 0);
  return canvas;
}

// A picture's file, or a video's frame, as upright RGBA pixels; colours as they stand in the file.
export async function decode(what) {
  const options = { colorSpaceConversion: "none", premultiplyAlpha: "none", imageOrientation: "from-image" };
  const bitmap = await createImageBitmap(what, options).catch(() => null);
  if (!bitmap) throw new Error(`${what.name ?? "this"} is no picture that this browser shows. Save it as JPEG or PNG`);
  const { width, height } = bitmap, canvas = element("canvas", { width, height });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  return { width, height, data: context.getImageData(0, 0, width, height).data };
}

// The camera, from the button that starts it to the picture, which `onPicture` gets.
export function camera(onPicture, onTrouble) {
  let stream = null;
  const stop = () => {
    stream?.getTracks().forEach((track) => track.stop());
    stream = null;
    $("camera").hidden = true;
  };
  $("stop").onclick = stop;
  $("shoot").onclick = async () => {
    const video = $("video"), canvas = element("canvas", { width: video.videoWidth, height: video.videoHeight });
    canvas.getContext("2d").drawImage(video, 0, 0);
    stop();
    await onPicture(canvas);
  };
  return async () => {
    try {
      stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
      $("video").srcObject = stream;
      $("camera").hidden = false;
      await $("video").play();
      $("shoot").focus();
    } catch (error) {
      stop();
      onTrouble(new Error(`the camera cannot be used: ${error.message}. Choose a file instead`));
    }
  };
}

const KINDS_OF = {
  uint8: Uint8Array, int8: Int8Array, int32: Int32Array, int64: BigInt64Array, float32: Float32Array,
};

function tensor({ name, dtype, shape }, values) {
  const Kind = KINDS_OF[dtype], count = product(shape.slice(1));
  if (values.length !== count) throw new Error(`${name} takes ${count} numbers, found ${values.length}. Give as many`);
  if (!values.every(Number.isFinite)) throw new Error(`${name} takes numbers, and not all of these are. Correct them`);
  if (dtype.startsWith("float")) return { dtype, shape: [1, ...shape.slice(1)], values: Kind.from(values) };
  const made = Kind.from(values, dtype === "int64" ? BigInt : Number);
  const same = values.every((value, i) => Number(made[i]) === value);
  if (!same) throw new Error(`${name} takes ${dtype}, found other numbers. Round them`);
  return { dtype, shape: [1, ...shape.slice(1)], values: made };
}

// Numbers with commas or spaces between them, for a model of one input → its tensors, in the order of the inputs.
export function rowOf(text, [spec]) {
  return [tensor(spec, text.split(/[\s,;]+/).filter(Boolean).map(Number))];
}

export function textOf(text, [spec]) {
  return [tensor(spec, characterCodes(text, spec.shape[1]))];
}

// A .npy of the one input, or an .npz with each by its name.
export async function arraysOf(file, inputs) {
  const raw = new Uint8Array(await file.arrayBuffer());
  const plain = ({ values, dtype }) => Array.from(numbers(values, dtype));
  if (raw[0] === 0x93 && inputs.length === 1) return [tensor(inputs[0], plain(readArray(raw, file.name)))];
  const held = readArrays(raw, file.name);
  return inputs.map((spec) => {
    const array = held.get(spec.name);
    if (!array) throw new Error(`${file.name} holds no array ${spec.name}; it holds ${[...held.keys()].join(", ")}`);
    return tensor(spec, plain(array));
  });
}
