"""A program of a bundle: a model file with its tensors, its golden file, and the engines that ran it. Checked data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from .contract import BatchRange, OutputSpec, TensorSpec
from .limits import MAX_ENGINES, MAX_FEATURES, MAX_TENSORS
from .names import PROGRAM_NAME, SAFE_NAME, check_file_entry, check_tensor_names
from .verdict import Verdict

MAIN = "main"  # what the only program of a bundle is called


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
class Floor:
    """What one output of a replay is held to against the float model's answers; null: not held to this.

    `sqnr_db`: signal-to-noise ratio (dB) of what varies between samples, at least. `agreement`: share of equal answers,
    at least. `max_abs`: largest absolute difference, at most.
    """

    sqnr_db: float | None
    agreement: float | None
    max_abs: float | None

    def __post_init__(self) -> None:
        if self.sqnr_db is None and self.agreement is None and self.max_abs is None:
            raise ValueError("a floor of nothing lets anything pass; give sqnr_db, agreement or max_abs")
        # A floor below these would let anything pass.
        if not (0 <= (self.sqnr_db or 0) <= 200 and 0 <= (self.agreement or 0) <= 1 and (self.max_abs or 0) >= 0):
            raise ValueError(
                "sqnr_db goes from 0 to 200, agreement from 0 to 1 and max_abs from 0 up, found "
                f"{self.sqnr_db}, {self.agreement} and {self.max_abs}"
            )


@dataclass(frozen=True, kw_only=True)
class Golden:
    """`golden.npz`: real inputs, the float model's answers to them, and what replaying them is held to.

    `replay` names the rule: "by_output" runs each sample alone and compares each output with its own floor; where the
    batch is free the samples are run a second time, several at once. "joint" is the rule of format 1, and found only
    there. `floors` has one entry for each output, by its name.
    """

    file: str
    bytes: int
    sha256: str
    samples: int
    replay: Literal["by_output", "joint"]
    floors: dict[str, Floor]

    def __post_init__(self) -> None:
        check_file_entry(self.file, self.bytes, self.sha256)
        if self.samples < 1:
            raise ValueError(f"{self.file} should hold at least 1 sample, found {self.samples}")


@dataclass(frozen=True, kw_only=True)
class EngineRun:
    """An engine that ran the golden samples when the bundle was packed; its answers lie in the golden file.

    `name` and `version` are those of its package; `precision` is what its float arithmetic was carried out in.
    `verdict` is that on this engine's answers where it was measured apart from the manifest's own, else null.
    """

    name: str
    version: str
    precision: Literal["float32", "float16", "bfloat16"]
    verdict: Verdict | None

    @property
    def key(self) -> str:
        """Where its answers lie in the golden file: `packed/KEY/OUTPUT.npy`."""
        return f"{self.name}-{self.precision}"


@dataclass(frozen=True, kw_only=True)
class Program:
    """One model file with an entry point of its own, what it takes and gives, and how it proves itself.

    `requires` names the lowest version of each engine that can run the file, by the engine's package; `features` what
    of the file that follows from, such as its opset.
    """

    name: str
    artifact: Artifact
    inputs: tuple[TensorSpec, ...] = field(metadata={"least": 1, "most": MAX_TENSORS})
    outputs: tuple[OutputSpec, ...] = field(metadata={"least": 1, "most": MAX_TENSORS})
    golden: Golden
    engines: tuple[EngineRun, ...] = field(metadata={"most": MAX_ENGINES})
    requires: dict[str, str] = field(metadata={"most": MAX_ENGINES})
    features: dict[str, str] = field(metadata={"most": MAX_FEATURES})

    def __post_init__(self) -> None:
        if not PROGRAM_NAME.fullmatch(self.name):
            raise ValueError(f"the program name {self.name[:80]!r} is not a plain name")
        if not self.inputs or not self.outputs:
            raise ValueError("a model needs at least one input and one output")
        for specs in (self.inputs, self.outputs):
            check_tensor_names([spec.name for spec in specs])
        ranges = {(spec.batch.min, spec.batch.max) if spec.batch else None for spec in (*self.inputs, *self.outputs)}
        if len(ranges) > 1:
            raise ValueError("the batch is one range for all inputs and outputs alike, or fixed for all")
        if self.golden.floors.keys() != {spec.name for spec in self.outputs}:
            raise ValueError(f"floors are named after the outputs, found {sorted(self.golden.floors)[:9]}")
        if not all(SAFE_NAME.fullmatch(name) for name in (*self.requires, *(run.name for run in self.engines))):
            raise ValueError("engines need plain names")
        if len({run.key.lower() for run in self.engines}) < len(self.engines):
            raise ValueError("an engine is named twice at one precision")

    @property
    def batch(self) -> BatchRange | None:
        """How many rows a run may have; None where the batch is fixed."""
        return self.inputs[0].batch

    @property
    def files(self) -> tuple[Artifact | Golden, ...]:
        return self.artifact, self.golden


def one_floor(outputs: Sequence[TensorSpec], floor: Floor) -> dict[str, Floor]:
    """The same floor for each output."""
    return {spec.name: floor for spec in outputs}
