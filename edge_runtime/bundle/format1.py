"""`manifest.json` of format 1, frozen: older bundles stay readable. Nothing writes this format any more.

`docs/BUNDLE-1.md` specifies it. `upgraded` turns it into a manifest of format 2, so that tools know only one kind.
`format_version` stays 1, and with it the rules by which such a bundle is replayed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from ..decode import to_plain
from . import contract
from . import manifest as format2
from .contract import BatchRange
from .limits import MAX_RANK
from .manifest import Artifact
from .names import MANIFEST_FILE, SAFE_NAME, SIGNATURE_FILE, check_file_entry, check_tensor_names
from .sealed import sealed
from .status import canonical

MAX_PICTURE_SIDE = 8192

# What the first output of a task holds: in format 1 only the task says so.
_HOLDS: dict[str, contract.Holds] = {
    "classification": "probabilities",
    "next_character": "log_probabilities",
    "segmentation": "mask",
}


@dataclass(frozen=True, kw_only=True)
class TensorSpec:
    """One input or output of the model file. `shape` is what `Engine.run` takes, batch axis first.

    `batch` is there when axis 0 is free: a run may then have any number of rows within it, the same for every tensor,
    and `shape` is the shape of the plain run that golden answers and measurements are made of. Without `batch` every
    axis is fixed. No other axis is ever free. In JSON: `"batch": {"max": 16, "min": 1}`, or no such field.
    """

    name: str
    dtype: Literal["uint8", "int8", "int32", "int64", "float16", "float32"]
    shape: tuple[int, ...] = field(metadata={"most": MAX_RANK})
    batch: BatchRange | None = field(default=None, metadata={"left_out": True})

    def __post_init__(self) -> None:
        self.upgraded()  # which is checked

    def upgraded(self) -> contract.TensorSpec:
        """The same in format 2's record."""
        return contract.TensorSpec(name=self.name, dtype=self.dtype, shape=self.shape, batch=self.batch)


@dataclass(frozen=True, kw_only=True)
class Golden:
    """`golden.npz`: real inputs, the float model's answers to them, and what replaying them is held to.

    `sqnr_floor_db`: signal-to-quantization-noise ratio (dB) of the artifact's answers against the float model's.
    `agreement_floor`: smallest share of samples whose top answer must be the float model's.
    """

    file: str
    bytes: int
    sha256: str
    samples: int
    sqnr_floor_db: float
    agreement_floor: float

    def __post_init__(self) -> None:
        check_file_entry(self.file, self.bytes, self.sha256)
        if self.samples < 1:
            raise ValueError(f"{self.file} should hold at least 1 sample, found {self.samples}")
        if not (0 <= self.sqnr_floor_db <= 200 and 0 <= self.agreement_floor <= 1):
            # A floor below these would let anything pass.
            raise ValueError(
                f"sqnr_floor_db goes from 0 to 200 and agreement_floor from 0 to 1, found {self.sqnr_floor_db:g} "
                f"and {self.agreement_floor:g}"
            )


@dataclass(frozen=True, kw_only=True)
class ImagePreprocessing:
    """How a picture becomes the input tensor (1, height, width, channels) uint8; `preprocess.py` carries it out.

    The picture is turned upright (EXIF), made 8 bits deep, and what is transparent is laid over white.

    Only decoding and resizing are left to the device. `in_graph` describes, for the reader, what the model file itself
    does with the raw pixels afterwards. `resize`: "stretch" scales both sides; "resize_crop" scales the shorter side to
    `resize_to` pixels, then cuts the centre. `expects` is a sentence for whoever takes the picture.
    """

    kind: Literal["image"]
    mode: Literal["L", "RGB"]
    height: int
    width: int
    resize: Literal["stretch", "resize_crop"]
    resize_to: int
    interpolation: Literal["bilinear", "bicubic", "nearest"]
    in_graph: tuple[str, ...]
    expects: str

    def __post_init__(self) -> None:
        if not all(0 < side <= MAX_PICTURE_SIDE for side in (self.height, self.width, self.resize_to)):
            raise ValueError(f"preprocessing to {self.height} x {self.width} pixels is out of range (1 to 8192)")
        if self.resize == "resize_crop" and self.resize_to < max(self.height, self.width):
            raise ValueError(f"resize_to {self.resize_to} is too small to cut {self.height} x {self.width} out of")

    def upgraded(self) -> contract.ImagePreprocessing:
        """The same in format 2's record: raw pixels, and the resize rule by its old name."""
        return contract.ImagePreprocessing(**vars(self))


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A task metric of the artifact on the validation split, with its 95 % interval and the float model's value."""

    name: str
    value: float
    low: float
    high: float
    samples: int
    float_value: float
    agreement: float  # share of samples whose top answer is the float model's


@dataclass(frozen=True, kw_only=True)
class StageResult:
    """One arrow of the verified chain: what was compared with what, on real samples, and what it was held to."""

    stage: str
    compared_with: str
    max_abs: float
    relative: float  # max_abs over the range of the reference
    sqnr_db: float  # capped at 200 dB, which stands for "identical"
    agreement: float
    held_to: str
    passed: bool


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What `manifest.json` says; `tools` are the exact versions that made the bundle.

    `status`: "verified" held every stage and the accuracy gate on real samples; "stages_verified" held every stage on
    real samples, and its accuracy was not measured, because the true answers were not given (`metrics` is empty then);
    "unverified" missed one of them, or was made of random samples; "not_run" was lowered for hardware that its maker
    did not have, and only the graph before that was held.
    """

    format_version: int
    name: str
    model: str
    task: str
    recipe: str
    exporter: str
    status: Literal["verified", "stages_verified", "unverified", "not_run"]
    artifact: Artifact
    golden: Golden
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    preprocessing: ImagePreprocessing | None
    labels: tuple[str, ...]
    metrics: tuple[Metric, ...]
    stages: tuple[StageResult, ...]
    tools: dict[str, str]
    provenance: dict[str, str]

    def __post_init__(self) -> None:
        if not SAFE_NAME.fullmatch(self.name):
            raise ValueError(f"the bundle name {self.name!r} is not a plain file name")
        # Compared as a disk that ignores case would.
        if len({name.lower() for name in (self.artifact.file, self.golden.file, MANIFEST_FILE, SIGNATURE_FILE)}) < 4:
            raise ValueError("the model file, golden file and manifest must be three files, none of them model.sig")
        if not self.inputs or not self.outputs:
            raise ValueError("a model needs at least one input and one output")
        for specs in (self.inputs, self.outputs):
            check_tensor_names([spec.name for spec in specs])
        ranges = {(spec.batch.min, spec.batch.max) if spec.batch else None for spec in (*self.inputs, *self.outputs)}
        if len(ranges) > 1:
            raise ValueError("the batch is one range for all inputs and outputs alike, or fixed for all")

    def to_bytes(self) -> bytes:
        """The exact bytes of `manifest.json`, checksum included."""
        return sealed(to_plain(self))

    def upgraded(self) -> format2.Manifest:
        """The same in format 2's record, `format_version` still 1: every output has the floors of all together."""
        golden = self.golden
        floor = format2.Floor(sqnr_db=golden.sqnr_floor_db, agreement=golden.agreement_floor, max_abs=None)
        outputs = tuple(
            contract.OutputSpec.of(spec.upgraded(), _HOLDS.get(self.task, "values") if i == 0 else "values")
            for i, spec in enumerate(self.outputs)
        )
        program = format2.Program(
            name=format2.MAIN,
            artifact=self.artifact,
            inputs=tuple(spec.upgraded() for spec in self.inputs),
            outputs=outputs,
            golden=format2.Golden(
                file=golden.file,
                bytes=golden.bytes,
                sha256=golden.sha256,
                samples=golden.samples,
                replay="joint",
                floors=format2.one_floor(outputs, floor),
            ),
            engines=(),
            requires={},
            features={},
        )
        return format2.Manifest(
            format_version=1,
            name=self.name,
            model=self.model,
            task=self.task,
            recipe=self.recipe,
            exporter=self.exporter,
            status=canonical(self.status),
            verdict=None,
            programs=(program,),
            preprocessing=None if self.preprocessing is None else self.preprocessing.upgraded(),
            labels=self.labels,
            metrics=tuple(format2.Metric(**vars(metric)) for metric in self.metrics),
            stages=tuple(format2.StageResult(**vars(stage)) for stage in self.stages),
            origin=format2.Origin(
                weights=format2.WeightsOrigin(source="", licence=None),
                golden=format2.SamplesOrigin(source=self.provenance.get("data", ""), licence=None, may_travel=None),
            ),
            tools=self.tools,
            provenance=self.provenance,
        )
