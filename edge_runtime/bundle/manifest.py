"""`manifest.json`: all that a device has to know about a model, as frozen dataclasses.

The manifest holds names, not code: `format` picks an engine, `task` picks how outputs become an answer, `preprocessing`
says how a picture becomes the input tensor. It carries its own checksum, and its bytes are canonical, so one flipped
byte anywhere is seen. This module reads and writes manifests; it opens no other file.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from typing import Any, Literal

from ..decode import DecodeError, canonical_json, decode, parse_json, to_plain
from ..errors import BundleError, shown

FORMAT_VERSION = 1
MANIFEST_FILE = "manifest.json"
SIGNATURE_FILE = "model.sig"  # what OpenSSF Model Signing calls it; a bundle may lie without one
MAX_MANIFEST_BYTES = 4 << 20  # labels of a 20,000-class model fit twenty times over

SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
TENSOR_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.:/-]{0,127}")
SHA256 = re.compile(r"[0-9a-f]{64}")
MAX_SIDE = 1 << 24
MAX_PICTURE_SIDE = 8192


@dataclass(frozen=True, kw_only=True)
class BatchRange:
    """How many rows a run may have where axis 0 is free: any whole number from `min` to `max`, both included."""

    min: int
    max: int

    def __post_init__(self) -> None:
        if not 1 <= self.min <= self.max <= MAX_SIDE:
            raise ValueError(f"a batch from {self.min} to {self.max} is impossible; it goes from 1 upwards")

    def __str__(self) -> str:
        return f"{self.min} to {self.max}"


@dataclass(frozen=True, kw_only=True)
class TensorSpec:
    """One input or output of the model file. `shape` is what `Engine.run` takes, batch axis first.

    `batch` is there when axis 0 is free: a run may then have any number of rows within it, the same for every tensor,
    and `shape` is the shape of the plain run that golden answers and measurements are made of. Without `batch` every
    axis is fixed. No other axis is ever free. In JSON: `"batch": {"max": 16, "min": 1}`, or no such field.
    """

    name: str
    dtype: Literal["uint8", "int8", "int32", "int64", "float16", "float32"]
    shape: tuple[int, ...]
    batch: BatchRange | None = field(default=None, metadata={"left_out": True})

    def __post_init__(self) -> None:
        if any(side < 1 or side > MAX_SIDE for side in self.shape):
            raise ValueError(f"tensor {self.name!r} has the impossible shape {list(self.shape)}")
        if self.batch and not (self.shape and self.batch.min <= self.shape[0] <= self.batch.max):
            raise ValueError(f"tensor {self.name!r} has the shape {list(self.shape)} and a batch of {self.batch}")

    @property
    def shape_text(self) -> str:
        """The shape for a person: "[1, 8, 8, 1]", with a free batch axis "[1 to 16, 8, 8, 1]"."""
        sides: list[object] = [*self.shape]
        if self.batch:
            sides[0] = self.batch
        return f"[{', '.join(map(str, sides))}]"


@dataclass(frozen=True, kw_only=True)
class Artifact:
    """The model file: its name inside the bundle, the format that picks the engine, its size and SHA-256."""

    file: str
    format: str
    bytes: int
    sha256: str

    def __post_init__(self) -> None:
        check_file_entry(self.file, self.bytes, self.sha256)


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

    @property
    def channels(self) -> int:
        return 1 if self.mode == "L" else 3


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
            names = [spec.name for spec in specs]
            if len(set(names)) < len(names) or not all(TENSOR_NAME.fullmatch(name) for name in names):
                raise ValueError(f"tensors need plain names of their own, found {names}")
        ranges = {(spec.batch.min, spec.batch.max) if spec.batch else None for spec in (*self.inputs, *self.outputs)}
        if len(ranges) > 1:
            raise ValueError("the batch is one range for all inputs and outputs alike, or fixed for all")

    @property
    def batch(self) -> BatchRange | None:
        """How many rows a run may have; None where the batch is fixed."""
        return self.inputs[0].batch

    def to_bytes(self) -> bytes:
        """The exact bytes of `manifest.json`, checksum included."""
        plain = to_plain(self)
        return canonical_json(plain | {"sha256": _checksum(plain)})


def check_file_entry(file: str, size: int, sha256: str) -> None:
    """Raises ValueError unless `file` is a plain name that cannot leave the bundle and size and hash are possible."""
    if not SAFE_NAME.fullmatch(file):
        raise ValueError(f"{file!r} is not a plain file name; a bundle's files lie beside its manifest")
    if size < 0:
        raise ValueError(f"{file} has a negative size")
    if not SHA256.fullmatch(sha256):
        raise ValueError(f"the sha256 of {file} is not 64 hexadecimal digits")


def read_manifest(raw: bytes, where: str) -> Manifest:
    """Decodes and checks the bytes of a `manifest.json`; `where` names the bundle in errors.

    Raises:
        BundleError: not JSON, a newer format, a wrong checksum, a missing, unknown or impossible field.
    """
    if len(raw) > MAX_MANIFEST_BYTES:
        raise BundleError(f"{where}: manifest.json has {len(raw):,} bytes; at most {MAX_MANIFEST_BYTES:,} are read")
    try:
        data: Any = parse_json(raw)
        if not isinstance(data, dict):
            raise DecodeError("manifest.json is not a JSON object")
        version = data.get("format_version")
        if type(version) is not int or version < 1:
            raise DecodeError(f"format_version should be a whole number from 1, found {version!r}")
        if version > FORMAT_VERSION:
            raise BundleError(
                f"{where} has bundle format {version}; this edgekit reads up to {FORMAT_VERSION}. "
                "Upgrade edgekit, or pack the bundle again with this version"
            )
        checksum = data.pop("sha256", None)
        # Canonical bytes and not just equal content: white space and key order are covered as well.
        if checksum != _checksum(data) or canonical_json(data | {"sha256": checksum}) != raw:
            raise DecodeError("its checksum does not match its content: the file was changed after packing")
        return decode(Manifest, data)
    except DecodeError as error:
        said = shown(error)
        raise BundleError(f"{where}: manifest.json was refused: {said}. Fetch or pack the bundle again") from None


def _checksum(plain: dict[str, Any]) -> str:
    try:
        return hashlib.sha256(canonical_json(plain)).hexdigest()
    except (ValueError, RecursionError, UnicodeEncodeError) as error:
        raise DecodeError(f"not canonical: {error}") from None
