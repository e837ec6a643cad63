"""Bundles of the kinds that format 2 brought: two programs, and pictures that the device normalizes. Real, and tiny."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from tiny_bundle import (
    LABELS,
    ORIGIN,
    PICTURE,
    RAN,
    SIDE,
    one_program,
    probabilities,
    quarter_pictures,
    quarter_weights,
)

from edgekit.edge_runtime.arrays import Arrays
from edgekit.edge_runtime.bundle.golden import GoldenSet, save_golden
from edgekit.edge_runtime.bundle.manifest import (
    FORMAT_VERSION,
    Floor,
    ImagePreprocessing,
    Manifest,
    OutputSpec,
    Program,
    TensorSpec,
)

EXACT = Floor(sqnr_db=60.0, agreement=1.0, max_abs=1e-4)
FLOATS = replace(
    PICTURE,
    resize="resize_center_crop",
    resize_to=10,
    layout="NCHW",
    dtype="float32",
    mean=(0.25,),
    std=(0.5,),
    in_graph=(),
)
DECAY = 0.5


def make_float_bundle(folder: Path, *, name: str = "floats", preprocessing: ImagePreprocessing = FLOATS) -> Path:
    """The bundle of `make_bundle` for a fixed app: normalized NCHW pixels in, logits out, (1, 1, 8, 8) to (1, 4)."""
    path = _folder(folder, name)
    pixels, targets = quarter_pictures(12)
    mean, std = np.float64(preprocessing.mean[0]), np.float64(preprocessing.std[0])
    inputs = ((pixels / 255 - mean) / std).astype(np.float32).transpose(0, 3, 1, 2).copy()
    weights = quarter_weights().astype(np.float64)
    nodes = [
        helper.make_node("Flatten", ["pixels"], ["flat"]),
        helper.make_node("Gemm", ["flat", "weights", "offset"], ["logits"]),
    ]
    constants = {"weights": weights * std, "offset": weights.sum(axis=0) * mean}
    taken, given = {"pixels": [1, 1, SIDE, SIDE]}, {"logits": [1, 4]}
    (path / "model.onnx").write_bytes(_model(nodes, taken, given, constants))
    logits = ((pixels.reshape(12, -1) / 255) @ weights).astype(np.float32)
    _save(path / "golden.npz", {"pixels": inputs}, {"logits": logits}, targets)
    program = one_program(
        path,
        [TensorSpec(name="pixels", dtype="float32", shape=(1, 1, SIDE, SIDE))],
        [OutputSpec(name="logits", dtype="float32", shape=(1, 4), holds="logits")],
        12,
        floor=EXACT,
    )
    return _written(path, (program,), preprocessing)


def make_two_programs(folder: Path, *, name: str = "two", decay: float = DECAY) -> Path:
    """An encoder, (1, 8, 8, 1) uint8 to features (1, 4), and a step, features and state to answer and state (1, 4).

    A step halves the state, adds the features and answers the logarithms of the softmax of that. With another `decay`
    its model file is not what the golden answers are of.
    """
    path = _folder(folder, name)
    pixels, targets = quarter_pictures(12)
    encoder = [
        helper.make_node("Cast", ["image"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Flatten", ["float"], ["flat"]),
        helper.make_node("Gemm", ["flat", "weights"], ["features"]),
    ]
    weights = quarter_weights() / 255
    image = {"image": [1, SIDE, SIDE, 1]}
    raw = _model(encoder, image, {"features": [1, 4]}, {"weights": weights}, TensorProto.UINT8)
    (path / "encoder.onnx").write_bytes(raw)
    features = (pixels.reshape(12, -1) @ weights.astype(np.float64)).astype(np.float32)
    _save(path / "encoder.npz", {"image": pixels}, {"features": features}, np.zeros((12, 0)))

    step = [
        helper.make_node("Mul", ["state", "decay"], ["old"]),
        helper.make_node("Add", ["old", "features"], ["next_state"]),
        helper.make_node("LogSoftmax", ["next_state"], ["answer"], axis=1),
    ]
    taken = {"features": [1, 4], "state": [1, 4]}
    (path / "step.onnx").write_bytes(
        _model(step, taken, {"answer": [1, 4], "next_state": [1, 4]}, {"decay": np.float32(decay)})
    )
    state = np.random.default_rng(1).normal(size=(12, 4)).astype(np.float32)
    answers = step_in_numpy(features, state)
    _save(path / "step.npz", {"features": features, "state": state}, answers, targets)

    def floats(name: str) -> TensorSpec:
        return TensorSpec(name=name, dtype="float32", shape=(1, 4))

    programs = (
        one_program(
            path,
            [TensorSpec(name="image", dtype="uint8", shape=(1, SIDE, SIDE, 1))],
            [OutputSpec.of(floats("features"), "features")],
            12,
            name="encoder",
            file="encoder.onnx",
            golden="encoder.npz",
            floor=EXACT,
        ),
        one_program(
            path,
            [floats("features"), floats("state")],
            [OutputSpec.of(floats("answer"), "log_probabilities"), OutputSpec.of(floats("next_state"), "features")],
            12,
            name="step",
            file="step.onnx",
            golden="step.npz",
            floor=EXACT,
        ),
    )
    return _written(path, programs, PICTURE)


def step_in_numpy(features: np.ndarray, state: np.ndarray) -> Arrays:
    """What the step computes, (N, 4) each: the answer and the next state."""
    following = state.astype(np.float64) * DECAY + features
    shifted = following - following.max(axis=1, keepdims=True)
    answer = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return {"answer": answer.astype(np.float32), "next_state": following.astype(np.float32)}


def _folder(folder: Path, name: str) -> Path:
    path = Path(folder) / name
    path.mkdir(parents=True)
    return path


def _model(
    nodes: list[onnx.NodeProto],
    inputs: dict[str, list[int]],
    outputs: dict[str, list[int]],
    constants: dict[str, np.ndarray],
    taken: int = TensorProto.FLOAT,
) -> bytes:
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info(name, taken, shape) for name, shape in inputs.items()],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs.items()],
        [numpy_helper.from_array(np.asarray(value, np.float32), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    onnx.checker.check_model(model)
    return model.SerializeToString()


def _save(path: Path, inputs: Arrays, outputs: Arrays, targets: np.ndarray) -> None:
    save_golden(path, GoldenSet(inputs=inputs, outputs=outputs, packed={RAN.key: outputs}, targets=targets))


def _written(path: Path, programs: tuple[Program, ...], preprocessing: ImagePreprocessing) -> Path:
    manifest = Manifest(
        format_version=FORMAT_VERSION,
        name=path.name,
        model="quarters",
        task="next_character" if len(programs) > 1 else "classification",
        recipe="fp32",
        exporter="onnx",
        status="consistent",
        verdict=None,
        programs=programs,
        preprocessing=preprocessing,
        labels=LABELS,
        metrics=(),
        stages=(),
        origin=ORIGIN,
        tools={"onnx": "1.23.2"},
        provenance={},
    )
    (path / "manifest.json").write_bytes(manifest.to_bytes())
    return path


def float_answers(pixels: np.ndarray) -> np.ndarray:
    """The probabilities that the float bundle's logits stand for."""
    return probabilities(pixels, quarter_weights())
