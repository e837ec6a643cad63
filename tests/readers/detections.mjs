// What a detector finds, written from docs/BUNDLE.md alone ("Boxes"). It knows nothing of the one in Python.
//   node detections.mjs < JSON   {scores: [A][C], boxes: [A][4], suppression} → [[label, score, l, t, r, b], …]
import { readFileSync } from "node:fs";

const { scores, boxes, suppression } = JSON.parse(readFileSync(0, "utf8"));
const area = ([l, t, r, b]) => Math.max(0, r - l) * Math.max(0, b - t);

function overlap(p, q) {
  const both = area([Math.max(p[0], q[0]), Math.max(p[1], q[1]), Math.min(p[2], q[2]), Math.min(p[3], q[3])]);
  return both === 0 ? 0 : both / (area(p) + area(q) - both);
}

let left = scores.flatMap((row, a) => row.map((score, c) => ({ a, c, score, box: boxes[a] })))
  .filter(({ score }) => score >= suppression.score_threshold)
  .sort((p, q) => q.score - p.score || p.a - q.a || p.c - q.c);
const kept = [];
while (left.length && kept.length < suppression.max_detections) {
  const [best, ...others] = left;
  kept.push([best.c, best.score, ...best.box]);
  left = others.filter(({ c, box }) => c !== best.c || !(overlap(best.box, box) > suppression.iou_threshold));
}
console.log(JSON.stringify(kept));
