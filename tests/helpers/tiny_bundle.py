"""A real bundle without torch, in no time: one linear layer that says which quarter of a picture is brightest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgekit.edge_runtime.bundle import format1, versions
from edgekit.edge_runtime.bundle.golden import UNNAMED, GoldenSet, save_golden
from edgekit.edge_runtime.bundle.manifest import (
    FORMAT_VERSION,
    MAIN,
    Artifact,
    EngineRun,
    Floor,
    Golden,
    ImagePreprocessing,
    Manifest,
    Metric,
    Origin,
    OutputSpec,
    Program,
    SamplesOrigin,
    TensorSpec,
    WeightsOrigin,
    one_floor,
)
from edgekit.edge_runtime.bundle.reading import read_manifest
from edgekit.edge_runtime.files import sha256_file

SIDE = 8
LABELS = ("top left", "top right", "bottom left", "bottom right")
PICTURE = ImagePreprocessing(
    kind="image",
    mode="L",
    height=SIDE,
    width=SIDE,
    resize="stretch",
    resize_to=SIDE,
    interpolation="bilinear",
    in_graph=("pixel / 255",),
    expects="a picture with one bright quarter",
)


def quarter_weights(scale: float = 0.25) -> np.ndarray:
    """(64, 4) float32: each class sums the pixels of its quarter."""
    weights = np.zeros((SIDE, SIDE, 4), np.float32)
    half = SIDE // 2
    for label, (row, column) in enumerate([(0, 0), (0, half), (half, 0), (half, half)]):
        weights[row : row + half, column : column + half, label] = scale
    return weights.reshape(SIDE * SIDE, 4)


def quarter_pictures(count: int = 12, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """(N, 8, 8, 1) uint8 with one brighter quarter each, and which one it is (N,) int64. The last is nearly a tie."""
    draw = np.random.default_rng(seed)
    pixels = draw.integers(0, 60, (count, SIDE, SIDE, 1), np.uint8)
    targets = np.arange(count) % 4
    half = SIDE // 2
    for i, label in enumerate(targets):
        row, column = label // 2 * half, label % 2 * half
        pixels[i, row : row + half, column : column + half] += 150
    pixels[-1] = 100
    pixels[-1, half:, half:] = 104  # bottom right, by little
    targets[-1] = 3
    return pixels, targets


def probabilities(pixels: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """What the model computes, in numpy: (N, 8, 8, 1) uint8 -> (N, C) float32."""
    logits = (pixels.reshape(len(pixels), -1).astype(np.float64) / 255) @ weights
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    return (odds / odds.sum(axis=1, keepdims=True)).astype(np.float32)


def onnx_model(weights: np.ndarray) -> bytes:
    """Raw pixels (1, 8, 8, 1) uint8 -> probabilities (1, C) float32."""
    nodes = [
        helper.make_node("Cast", ["image"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["float", "scale"], ["scaled"]),
        helper.make_node("Flatten", ["scaled"], ["flat"]),
        helper.make_node("Gemm", ["flat", "weights"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "quarters",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, [1, SIDE, SIDE, 1])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [1, weights.shape[1]])],
        [
            numpy_helper.from_array(np.float32(1 / 255), "scale"),
            numpy_helper.from_array(weights.astype(np.float32), "weights"),
        ],
    )
    # Fixed versions: the newest ones that onnx writes may be newer than what onnxruntime reads.
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    onnx.checker.check_model(model)
    return model.SerializeToString()


# One version for all tests, so that the bytes of a bundle do not depend on what is installed.
RAN = EngineRun(name="onnxruntime", version="1.32.0", precision="float32", verdict=None)
ORIGIN = Origin(
    weights=WeightsOrigin(source="made by the test", licence="CC0-1.0"),
    golden=SamplesOrigin(source="made by the test", licence="CC0-1.0", may_travel=True),
)
IMAGE = TensorSpec(name="image", dtype="uint8", shape=(1, SIDE, SIDE, 1))
FLOOR = Floor(sqnr_db=10.0, agreement=0.5, max_abs=None)


def make_bundle(
    folder: Path,
    *,
    name: str,
    model: str = "quarters",
    recipe: str = "fp32",
    weights: np.ndarray | None = None,
    labels: tuple[str, ...] = LABELS,
    task: str = "classification",
    status: str = "verified",
    pictures: bool = True,
    samples: int = 12,
    model_bytes: bytes | None = None,
    format_version: int = FORMAT_VERSION,
) -> Path:
    """Writes the bundle `folder/name` and returns its path.

    Args:
        weights: (64, C) float32; default `quarter_weights()`. The golden answers are always those of the default.
        pictures: False leaves the preprocessing out, as for a model whose input is no picture.
        model_bytes: put into the model file instead, with checksums that fit: a file that only the engine can refuse.
        format_version: 1 writes the bundle that edgekit wrote before format 2.
    """
    path = Path(folder) / name
    path.mkdir(parents=True)
    used = quarter_weights() if weights is None else weights
    pixels, targets = quarter_pictures(samples)
    golden_answers, packed = probabilities(pixels, quarter_weights()), probabilities(pixels, used)
    (path / "model.onnx").write_bytes(onnx_model(used) if model_bytes is None else model_bytes)
    engine = RAN.key if format_version > 1 else UNNAMED
    golden = GoldenSet(
        inputs={"image": pixels},
        outputs={"probabilities": golden_answers},
        packed={engine: {"probabilities": packed}},
        targets=targets,
    )
    save_golden(path / "golden.npz", golden)
    accuracy = float(np.mean(packed.argmax(axis=1) == targets))
    metric = Metric(
        name="accuracy",
        value=accuracy,
        low=max(0.0, accuracy - 0.1),
        high=min(1.0, accuracy + 0.1),
        samples=len(targets),
        float_value=1.0,
        agreement=float(np.mean(packed.argmax(axis=1) == golden_answers.argmax(axis=1))),
    )
    given = TensorSpec(name="probabilities", dtype="float32", shape=(1, used.shape[1]))
    write = _write_format_2 if format_version > 1 else _write_format_1
    write(
        path,
        given,
        len(targets),
        metric,
        name=name,
        model=model,
        task=task,
        recipe=recipe,
        exporter="onnx",
        status=status,
        preprocessing=PICTURE if pictures else None,
        labels=labels,
        tools={"onnx": "1.23.2"},
        provenance={"data": "made by the test"},
    )
    return path


def one_program(
    path: Path,
    inputs: Sequence[TensorSpec],
    outputs: Sequence[OutputSpec],
    samples: int,
    *,
    name: str = MAIN,
    file: str = "model.onnx",
    golden: str = "golden.npz",
    format: str = "onnx",
    floor: Floor = FLOOR,
    engines: tuple[EngineRun, ...] = (RAN,),
) -> Program:
    """What a manifest says of a model file and a golden file that lie in the folder `path`."""
    requires, features = versions.requirements(format, path / file, {})
    held_to = {"samples": samples, "replay": "by_output", "floors": one_floor(outputs, floor)}
    return Program(
        name=name,
        artifact=Artifact(file=file, format=format, **_entry(path / file)),
        inputs=tuple(inputs),
        outputs=tuple(outputs),
        golden=Golden(file=golden, **held_to, **_entry(path / golden)),
        engines=engines,
        requires=requires,
        features=features,
    )


def _write_format_2(path: Path, given: TensorSpec, samples: int, metric: Metric, **fields: object) -> None:
    manifest = Manifest(
        format_version=FORMAT_VERSION,
        verdict=None,
        programs=(one_program(path, [IMAGE], [OutputSpec.of(given, "probabilities")], samples),),
        metrics=(metric,),
        stages=(),
        origin=ORIGIN,
        **fields,
    )
    (path / "manifest.json").write_bytes(manifest.to_bytes())


def _write_format_1(path: Path, given: TensorSpec, samples: int, metric: Metric, **fields: object) -> None:
    picture, status = fields.pop("preprocessing"), fields.pop("status")
    manifest = format1.Manifest(
        format_version=1,
        status={"consistent": "stages_verified"}.get(status, status),
        artifact=Artifact(file="model.onnx", format="onnx", **_entry(path / "model.onnx")),
        golden=format1.Golden(
            file="golden.npz", samples=samples, sqnr_floor_db=10.0, agreement_floor=0.5, **_entry(path / "golden.npz")
        ),
        inputs=(_format_1_tensor(IMAGE),),
        outputs=(_format_1_tensor(given),),
        preprocessing=picture and format1.ImagePreprocessing(**_shared(picture, format1.ImagePreprocessing)),
        metrics=(format1.Metric(**vars(metric)),),
        stages=(),
        **fields,
    )
    (path / "manifest.json").write_bytes(manifest.to_bytes())


def _format_1_tensor(spec: TensorSpec) -> format1.TensorSpec:
    return format1.TensorSpec(**_shared(spec, format1.TensorSpec))


def _shared(record: object, cls: type) -> dict[str, object]:
    return {f.name: getattr(record, f.name) for f in fields(cls)}


def _entry(path: Path) -> dict[str, int | str]:
    return {"bytes": path.stat().st_size, "sha256": sha256_file(path)}


def with_program(manifest: Manifest, **changes: object) -> Manifest:
    """The manifest with fields of its only program changed; floors follow outputs, a picture its input."""
    program, picture = manifest.program(), manifest.preprocessing
    if picture and "inputs" in changes and changes["inputs"][0].shape[1:] != picture.shape[1:]:
        picture = None
    if "outputs" in changes:
        floors = one_floor(changes["outputs"], next(iter(program.golden.floors.values())))
        changes["golden"] = replace(program.golden, floors=floors)
    return replace(manifest, programs=(replace(program, **changes),), preprocessing=picture)


def change_manifest(path: Path, **changes: object) -> Path:
    """Rewrites a bundle's manifest with fields changed and a checksum that fits, as a hostile packer would.

    Fields of the only program go by their own names; "artifact" and "golden" may be dictionaries of what changes.
    """
    manifest = read_manifest((path / "manifest.json").read_bytes(), str(path))
    program = manifest.program()
    for entry in ("artifact", "golden"):
        if isinstance(changes.get(entry), dict):
            changes[entry] = replace(getattr(program, entry), **changes[entry])
    of_program = {f.name for f in fields(Program)} - {"name"}
    own = {key: changes.pop(key) for key in of_program & changes.keys()}
    changed = replace(with_program(manifest, **own), **changes)
    (path / "manifest.json").write_bytes(changed.to_bytes())
    return path
