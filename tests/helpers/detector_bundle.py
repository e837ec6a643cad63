"""A bundle of a detector without torch: bright windows of a picture, by one convolution that is written down."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from small_detector import BLOCK, LABELS, SIDE, blocks
from tiny_bundle import ORIGIN, PICTURE, RAN, one_program

from edgekit.edge_runtime.bundle.golden import GoldenSet, save_golden
from edgekit.edge_runtime.bundle.manifest import FORMAT_VERSION, Manifest, OutputSpec, Suppression, TensorSpec

PLACES = (SIDE // BLOCK) ** 2
SEEN = {"height": SIDE, "width": SIDE, "resize_to": SIDE, "expects": "bright blocks"}
WINDOWS = np.array(
    [(x, y, x + BLOCK, y + BLOCK) for y in range(0, SIDE, BLOCK) for x in range(0, SIDE, BLOCK)], np.float32
)


def answers(pixels: np.ndarray, bias: float = -10.0) -> tuple[np.ndarray, np.ndarray]:
    """What the model computes, in numpy: scores (N, 16, 2) and boxes (N, 16, 4) float32."""
    side = SIDE // BLOCK
    bright = pixels.reshape(-1, side, BLOCK, side, BLOCK).mean((2, 4)).reshape(len(pixels), PLACES) / 255
    logits = np.stack([20 * bright + bias, np.full_like(bright, -10)], axis=2)
    return (1 / (1 + np.exp(-logits))).astype(np.float32), np.repeat(WINDOWS[np.newaxis], len(pixels), 0)


def _model(bias: float) -> bytes:
    constants = {
        "scale": np.float32(1 / 255),
        "weights": np.stack([np.full((1, BLOCK, BLOCK), 20 / BLOCK**2), np.zeros((1, BLOCK, BLOCK))]).astype(
            np.float32
        ),
        "bias": np.float32([bias, -10]),
        "windows": WINDOWS[np.newaxis],
        "first": np.int64([1, 1, SIDE, SIDE]),
        "flat": np.int64([1, 2, PLACES]),
    }
    nodes = [
        helper.make_node("Cast", ["image"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["float", "scale"], ["scaled"]),
        helper.make_node("Reshape", ["scaled", "first"], ["channels"]),
        helper.make_node("Conv", ["channels", "weights", "bias"], ["map"], strides=[BLOCK, BLOCK]),
        helper.make_node("Reshape", ["map", "flat"], ["rows"]),
        helper.make_node("Transpose", ["rows"], ["logits"], perm=[0, 2, 1]),
        helper.make_node("Sigmoid", ["logits"], ["scores"]),
        helper.make_node("Identity", ["windows"], ["boxes"]),
    ]
    graph = helper.make_graph(
        nodes,
        "blocks",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, [1, SIDE, SIDE, 1])],
        [
            helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, PLACES, 2]),
            helper.make_tensor_value_info("boxes", TensorProto.FLOAT, [1, PLACES, 4]),
        ],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    onnx.checker.check_model(model)
    return model.SerializeToString()


def make_detector_bundle(
    folder: Path, *, name: str = "blocks-onnx-fp32", bias: float = -10.0, suppression: Suppression | None = None
) -> Path:
    """Writes `folder/name`, a bundle of 8 golden samples. With a lower `bias` it finds less than its float model."""
    path = folder / name
    path.mkdir(parents=True)
    (path / "model.onnx").write_bytes(_model(bias))
    pixels, targets = blocks(8)
    reference, packed = (dict(zip(("scores", "boxes"), answers(pixels, b), strict=True)) for b in (-10.0, bias))
    golden = GoldenSet(inputs={"image": pixels}, outputs=reference, packed={RAN.key: packed}, targets=targets)
    save_golden(path / "golden.npz", golden)
    outputs = [
        OutputSpec(name="scores", dtype="float32", shape=(1, PLACES, 2), holds="scores"),
        OutputSpec(name="boxes", dtype="float32", shape=(1, PLACES, 4), holds="boxes"),
    ]
    image = TensorSpec(name="image", dtype="uint8", shape=(1, SIDE, SIDE, 1))
    manifest = Manifest(
        format_version=FORMAT_VERSION,
        name=name,
        model="blocks",
        task="detection",
        recipe=name.rpartition("-")[2],
        exporter="onnx",
        status="consistent",
        verdict=None,
        programs=(one_program(path, [image], outputs, 8),),
        preprocessing=replace(PICTURE, **SEEN),
        labels=LABELS,
        metrics=(),
        stages=(),
        origin=ORIGIN,
        tools={"onnx": "1.23.2"},
        provenance={},
        suppression=suppression or Suppression(),
    )
    (path / "manifest.json").write_bytes(manifest.to_bytes())
    return path
