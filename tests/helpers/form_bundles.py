"""Tiny bundles of what is no label of a picture: numbers from a row, the next character of a text, and a mask."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from tiny_bundle import ORIGIN, PICTURE, RAN, SIDE, one_program, quarter_pictures

from edgekit.edge_runtime.bundle.golden import GoldenSet, save_golden
from edgekit.edge_runtime.bundle.manifest import FORMAT_VERSION, Manifest, OutputSpec, TensorSpec

NUMBERS = ("width in mm", "height in mm")
SCALES = np.float32([[1, 0], [2, 1], [0, -3]])
LETTERS = tuple("abcd")
_KINDS = {"float32": TensorProto.FLOAT, "int64": TensorProto.INT64, "uint8": TensorProto.UINT8}


def numbers_bundle(folder: Path) -> Path:
    """(1, 3) float32 to (1, 2) `values`: the row times `SCALES`."""
    rows = np.random.default_rng(0).normal(0, 3, (8, 3)).astype(np.float32)
    return _bundle(
        folder / "numbers-onnx-fp32",
        [helper.make_node("MatMul", ["row", "scales"], ["numbers"])],
        {"scales": SCALES},
        TensorSpec(name="row", dtype="float32", shape=(1, 3)),
        OutputSpec(name="numbers", dtype="float32", shape=(1, 2), holds="values"),
        rows,
        rows @ SCALES,
        task="regression",
        labels=NUMBERS,
    )


def letters_bundle(folder: Path) -> Path:
    """(1, 4) int64 to (1, 4) `log_probabilities`: after the last letter of "abcd" comes most probably the next one."""
    table = np.full((128, 4), np.log(0.1), np.float32)
    for place, letter in enumerate(LETTERS):
        table[ord(letter), (place + 1) % 4] = np.log(0.7)
    codes = np.array([[ord(c) for c in text] for text in ("aaaa", "abab", "dcbc", "bbbd")], np.int64)
    nodes = [
        helper.make_node("Gather", ["codes", "last"], ["code"], axis=1),
        helper.make_node("Gather", ["table", "code"], ["letters"], axis=0),
    ]
    return _bundle(
        folder / "letters-onnx-fp32",
        nodes,
        {"table": table, "last": np.int64(3)},
        TensorSpec(name="codes", dtype="int64", shape=(1, 4)),
        OutputSpec(name="letters", dtype="float32", shape=(1, 4), holds="log_probabilities"),
        codes,
        table[codes[:, 3]],
        task="next_character",
        labels=LETTERS,
    )


def mask_bundle(folder: Path) -> Path:
    """(1, 8, 8, 1) uint8 to (1, 1, 8, 8) `mask`: each pixel's brightness."""
    pixels, _ = quarter_pictures(8)
    nodes = [
        helper.make_node("Cast", ["image"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["float", "scale"], ["scaled"]),
        helper.make_node("Reshape", ["scaled", "shape"], ["bright"]),
    ]
    return _bundle(
        folder / "bright-onnx-fp32",
        nodes,
        {"scale": np.float32(1 / 255), "shape": np.int64([1, 1, SIDE, SIDE])},
        TensorSpec(name="image", dtype="uint8", shape=(1, SIDE, SIDE, 1)),
        OutputSpec(name="bright", dtype="float32", shape=(1, 1, SIDE, SIDE), holds="mask"),
        pixels,
        (pixels.transpose(0, 3, 1, 2) * np.float32(1 / 255)).astype(np.float32),
        task="segmentation",
        labels=("bright",),
    )


def _bundle(
    path: Path,
    nodes: list[onnx.NodeProto],
    constants: dict[str, np.ndarray],
    taken: TensorSpec,
    given: OutputSpec,
    inputs: np.ndarray,
    outputs: np.ndarray,
    *,
    task: str,
    labels: tuple[str, ...],
) -> Path:
    path.mkdir(parents=True)
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info(taken.name, _KINDS[taken.dtype], taken.shape)],
        [helper.make_tensor_value_info(given.name, TensorProto.FLOAT, given.shape)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    onnx.checker.check_model(model)
    (path / "model.onnx").write_bytes(model.SerializeToString())
    answers = {given.name: outputs}
    golden = GoldenSet(
        inputs={taken.name: inputs}, outputs=answers, packed={RAN.key: answers}, targets=np.zeros((len(inputs), 0))
    )
    save_golden(path / "golden.npz", golden)
    manifest = Manifest(
        format_version=FORMAT_VERSION,
        name=path.name,
        model=path.name.partition("-")[0],
        task=task,
        recipe="fp32",
        exporter="onnx",
        status="consistent",
        verdict=None,
        programs=(one_program(path, [taken], [given], len(inputs)),),
        preprocessing=PICTURE if taken.name == "image" else None,
        labels=labels,
        metrics=(),
        stages=(),
        origin=ORIGIN,
        tools={"onnx": "1.23.2"},
        provenance={},
    )
    (path / "manifest.json").write_bytes(manifest.to_bytes())
    return path
