"""A program of a bundle: a model file, its tensors, its golden file and the engines that ran it. Checked data."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from .contract import BatchRange, OutputSpec, TensorSpec
from .limits import MAX_ENGINES, MAX_FEATURES, MAX_TENSORS
from .names import PROGRAM_NAME, SAFE_NAME, check_file_entry, check_tensor_names
from .verdict import MAX_SAMPLES, Verdict

MAIN = "main"  # what the only program of a bundle is called


@dataclass(frozen=True, kw_only=True)
class Artifact:
    """The model file."""

    file: str
    """Its name inside the bundle."""
    format: str
    """Which engine runs it."""
    bytes: int
    """Its size."""
    sha256: str
    """The SHA-256 of its bytes, in hexadecimal."""

    def __post_init__(self) -> None:
        check_file_entry(self.file, self.bytes, self.sha256)


@dataclass(frozen=True, kw_only=True)
class Floor:
    """How close a replay of one output must be to the float model's answers. At least one bound is given."""

    sqnr_db: float | None
    """Lowest signal-to-noise ratio (dB) of what varies between samples."""
    agreement: float | None
    """Lowest share of equal answers."""
    max_abs: float | None
    """Highest absolute difference."""

    def __post_init__(self) -> None:
        if self.sqnr_db is None and self.agreement is None and self.max_abs is None:
            raise ValueError("an empty floor lets anything pass; give sqnr_db, agreement or max_abs")
        # A floor beyond these would let anything pass; the difference from a NaN counts as the largest double.
        if not (
            0 <= (self.sqnr_db or 0) <= 200
            and 0 <= (self.agreement or 0) <= 1
            and 0 <= (self.max_abs or 0) < sys.float_info.max
        ):
            raise ValueError(
                "sqnr_db should be 0 to 200, agreement 0 to 1 and max_abs 0 to below 1.79e308, found "
                f"{self.sqnr_db}, {self.agreement} and {self.max_abs}"
            )


@dataclass(frozen=True, kw_only=True)
class Golden:
    """`golden.npz`: real inputs, the float model's answers to them, and how close a replay must come to those."""

    file: str
    """Its name inside the bundle."""
    bytes: int
    """Its size."""
    sha256: str
    """The SHA-256 of its bytes, in hexadecimal."""
    samples: int
    """How many samples it holds."""
    replay: Literal["by_output", "joint"]
    """The rule of a replay. "by_output" runs each sample alone and compares each output with its own floor; where the
    batch is free, the samples run a second time, several at once. "joint" is the rule of format 1, and only there."""
    floors: dict[str, Floor]
    """What is required of each output, by its name."""

    def __post_init__(self) -> None:
        check_file_entry(self.file, self.bytes, self.sha256)
        if self.samples < 1:
            raise ValueError(f"{self.file} should hold at least 1 sample, found {self.samples}")


@dataclass(frozen=True, kw_only=True)
class EngineRun:
    """An engine that ran the golden samples when the bundle was packed; its answers are in the golden file."""

    name: str
    """Its package."""
    version: str
    """The package's version."""
    precision: Literal["float32", "float16", "bfloat16"]
    """The type that it computed floats in."""
    verdict: Verdict | None
    """The verdict on its answers, if it was measured separately."""

    @property
    def key(self) -> str:
        """Where its answers are in the golden file: `packed/KEY/OUTPUT.npy`."""
        return f"{self.name}-{self.precision}"


@dataclass(frozen=True, kw_only=True)
class Program:
    """One model file that is loaded and run by its own name."""

    name: str
    """The entry point; "main" where it is the only one."""
    artifact: Artifact
    """The model file."""
    inputs: tuple[TensorSpec, ...] = field(metadata={"least": 1, "most": MAX_TENSORS})
    """Its inputs, in the order of its arguments."""
    outputs: tuple[OutputSpec, ...] = field(metadata={"least": 1, "most": MAX_TENSORS})
    """Its outputs, in order."""
    golden: Golden
    """Its golden samples."""
    engines: tuple[EngineRun, ...] = field(metadata={"most": MAX_ENGINES})
    """What ran the golden samples when the bundle was packed."""
    requires: dict[str, str] = field(metadata={"most": MAX_ENGINES})
    """The lowest version of each engine that can run the file, by the engine's package."""
    features: dict[str, str] = field(metadata={"most": MAX_FEATURES})
    """What in the file requires those versions, such as its opset."""

    def __post_init__(self) -> None:
        if not PROGRAM_NAME.fullmatch(self.name):
            raise ValueError(f"the program name {self.name[:80]!r} is not a plain name")
        if not self.inputs or not self.outputs:
            raise ValueError("a model needs at least one input and one output")
        for specs in (self.inputs, self.outputs):
            check_tensor_names([spec.name for spec in specs])
        ranges = {(spec.batch.min, spec.batch.max) if spec.batch else None for spec in (*self.inputs, *self.outputs)}
        if len(ranges) > 1:
            raise ValueError("all inputs and outputs should have the same free batch, or all a fixed one")
        if self.golden.floors.keys() != {spec.name for spec in self.outputs}:
            raise ValueError(f"floors should have the names of the outputs, found {sorted(self.golden.floors)[:9]}")
        if not all(SAFE_NAME.fullmatch(name) for name in (*self.requires, *(run.name for run in self.engines))):
            raise ValueError("engines should have plain names")
        if len({run.key.lower() for run in self.engines}) < len(self.engines):
            raise ValueError("an engine is listed twice with the same precision")

    def check_format_2(self) -> None:
        """Raises ValueError for what only format 1 allows, such as a fixed batch of several rows."""
        for spec in (*self.inputs, *self.outputs):
            if not spec.shape or (spec.batch is None and spec.shape[0] != 1):
                raise ValueError(f"tensor {spec.name!r} should have one row in axis 0, found {list(spec.shape)}")
        if self.golden.samples > MAX_SAMPLES:
            raise ValueError(f"{self.golden.file} should hold at most {MAX_SAMPLES:,} samples")

    @property
    def batch(self) -> BatchRange | None:
        """How many rows a run may have; None where the batch is fixed."""
        return self.inputs[0].batch

    @property
    def files(self) -> tuple[Artifact | Golden, ...]:
        return self.artifact, self.golden


def one_floor(outputs: Sequence[TensorSpec], floor: Floor) -> dict[str, Floor]:
    """The same floor for every output, by name."""
    return {spec.name: floor for spec in outputs}
