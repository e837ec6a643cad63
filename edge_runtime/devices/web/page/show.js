// What the bundles say to an input, side by side, and how long each takes.
import { readAnswer, sameAnswer, samePixels } from "./answers.js";
import { $, paint } from "./inputs.js";
import { toPicture, toTensor } from "./picture.js";
import { median } from "./replay.js";
import { answerOf, msText, percent, three } from "./view.js";

const BLOCKS = 9, BLOCK_MS = 10, MOST_RUNS = 500, SAME_SPEED = 1.1;
export const shown = { turn: 0, input: null }; // how many inputs came, and the last one

// Runs the working bundles on {picture or tensors, caption, tile}.
export async function show(working, input) {
  const mine = ++shown.turn, { preprocessing } = working[0].bundle;
  shown.input = input;
  document.querySelectorAll("#tiles button").forEach((tile) => { tile.ariaPressed = String(tile === input.tile); });
  for (const one of working) {
    const made = input.picture && toTensor(input.picture, one.bundle.preprocessing, { invert: $("invert").checked });
    one.given = made ?? { tensor: input.tensors[0], seen: null };
    const tensors = input.tensors ?? [one.given.tensor];
    one.feeds = Object.fromEntries(one.bundle.inputs.map(({ name }, k) => [name, tensors[k]]));
  }
  $("answers").hidden = false;
  $("seen").hidden = !preprocessing;
  if (preprocessing) {
    paint($("seen-pixels"), toPicture(working[0].given.tensor, preprocessing));
    const size = `${preprocessing.width} × ${preprocessing.height} pixels`;
    $("seen-text").textContent = `What the model sees of ${input.caption}: ${size}`;
  }
  for (const one of working) {
    one.said = readAnswer(one.bundle, await one.model.run(one.feeds));
    if (mine !== shown.turn) return;
    one.answer.replaceChildren(...answerOf(one, input.picture));
  }
  compare(working);
  await measure(working, mine);
}

function compare(working) {
  const [first, ...others] = working.map(({ said }) => said);
  const same = others.every((said) => sameAnswer(first, said)), who = others.length > 1 ? "All" : "Both";
  const each = working.map(({ bundle, said }) => `${bundle.recipe} says ${said.short}`).join(", ");
  const agreed = others.length ? `${who} say ${first.short}.` : `It says ${first.short}.`;
  $("verdict").className = `verdict ${others.length ? (same ? "good" : "bad") : ""}`;
  const pixels = first.kind === "mask" && Math.min(...others.map((said) => samePixels(first, said)));
  const differ = pixels ? `They agree on ${percent(pixels)} of the pixels: ${each}.` : `They disagree: ${each}.`;
  $("verdict").textContent = same ? agreed : differ;
}

// Each bundle in turn, in blocks of runs that last long enough for the browser's clock.
async function measure(working, mine) {
  const times = working.map(() => []);
  const runs = working.map(({ check }) => Math.min(MOST_RUNS, Math.ceil(BLOCK_MS / Math.max(check.median_ms, 0.01))));
  for (let block = 0; block < BLOCKS; block++) {
    for (const [k, one] of working.entries()) {
      const begin = performance.now();
      for (let i = 0; i < runs[k]; i++) await one.model.run(one.feeds);
      times[k].push((performance.now() - begin) / runs[k]);
      await new Promise((resolve) => setTimeout(resolve)); // lets the page draw
      if (mine !== shown.turn) return;
    }
  }
  for (const [k, one] of working.entries()) {
    const ms = median(times[k]), ratio = median(times[0]) / ms, than = `than ${working[0].bundle.recipe}`;
    const far = ratio > 1 ? `${three(ratio)}× faster ${than}` : `${three(1 / ratio)}× slower ${than}`;
    const relation = Math.max(ratio, 1 / ratio) < SAME_SPEED ? `about as fast as ${working[0].bundle.recipe}` : far;
    const what = `${msText(ms)}${k ? `, ${relation}` : ""}`;
    one.time.textContent = `${what}; median of ${BLOCKS * runs[k]} runs in this browser`;
  }
  document.body.dataset.measured = String(mine);
}
