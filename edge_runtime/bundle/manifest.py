"""`manifest.json`, format 2: all that a device has to know about a model, as frozen dataclasses.

The manifest holds names, not code: `format` picks an engine, `task` and `holds` say how outputs become an answer,
`preprocessing` how a picture becomes an input. It carries its own checksum, and its bytes are canonical, so one flipped
byte anywhere is seen. This module says what a manifest is; `reading` reads one, of this format or an older one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from ..decode import decode, to_plain
from ..errors import UsageError
from .contract import BatchRange, ImagePreprocessing, OutputSpec, TensorSpec
from .limits import MAX_BUNDLE_BYTES, MAX_ENGINES, MAX_FEATURES, MAX_FILE_BYTES, MAX_PROGRAMS, MAX_TENSORS
from .names import MANIFEST_FILE, PROGRAM_NAME, SAFE_NAME, SIGNATURE_FILE, check_file_entry, check_tensor_names
from .sealed import sealed
from .status import Status
from .verdict import Verdict

__all__ = [
    "FORMAT_VERSION",
    "MAIN",
    "MANIFEST_FILE",
    "Artifact",
    "BatchRange",
    "EngineRun",
    "Floor",
    "Golden",
    "ImagePreprocessing",
    "Manifest",
    "Metric",
    "Origin",
    "OutputSpec",
    "Program",
    "SamplesOrigin",
    "StageResult",
    "TensorSpec",
    "Verdict",
    "WeightsOrigin",
]

FORMAT_VERSION = 2
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
                f"sqnr_db goes from 0 to 200, agreement from 0 to 1 and max_abs from 0 on, found {self.text}"
            )

    @property
    def text(self) -> str:
        """For a person: "SQNR ≥ 20 dB, agreement ≥ 90%"."""
        parts = (
            None if self.sqnr_db is None else f"SQNR ≥ {self.sqnr_db:g} dB",
            None if self.agreement is None else f"agreement ≥ {self.agreement:.0%}",
            None if self.max_abs is None else f"max |Δ| ≤ {self.max_abs:.3g}",
        )
        return ", ".join(part for part in parts if part)


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
    """One arrow of the verified chain: what was compared with what, on real samples, and what it was held to.

    Of one output of one program; `output` "" stands for all of them side by side.
    """

    stage: str
    compared_with: str
    max_abs: float
    relative: float  # max_abs over the range of the reference
    sqnr_db: float  # capped at 200 dB, which stands for "identical"
    agreement: float
    held_to: str
    passed: bool
    program: str = MAIN
    output: str = ""


@dataclass(frozen=True, kw_only=True)
class WeightsOrigin:
    """Where the weights come from, in words or as an address, and their licence; null: nobody said."""

    source: str
    licence: str | None


@dataclass(frozen=True, kw_only=True)
class SamplesOrigin:
    """Where the golden samples come from, their licence, and whether they may be handed on; null: nobody said."""

    source: str
    licence: str | None
    may_travel: bool | None


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Whose work a bundle holds."""

    weights: WeightsOrigin
    golden: SamplesOrigin


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What `manifest.json` says; `tools` are the exact versions that made the bundle.

    `status` is one of `status.STATUSES`. `verdict` is that on the accuracy of the first program; null where none was
    measured. `programs` has one entry, called "main", unless an application calls several in turn; the first one takes
    the picture that `preprocessing` describes. `artifact`, `golden`, `inputs`, `outputs`, `engines` and `batch` are
    those of the only program.

    A bundle of format 1 is in memory in these words as well; `format_version` is 1 then, and it is never written.
    """

    format_version: int
    name: str
    model: str
    task: str
    recipe: str
    exporter: str
    status: Status
    verdict: Verdict | None
    programs: tuple[Program, ...] = field(metadata={"least": 1, "most": MAX_PROGRAMS})
    preprocessing: ImagePreprocessing | None
    labels: tuple[str, ...]
    metrics: tuple[Metric, ...]
    stages: tuple[StageResult, ...]
    origin: Origin
    tools: dict[str, str]
    provenance: dict[str, str]

    def __post_init__(self) -> None:
        if not SAFE_NAME.fullmatch(self.name):
            raise ValueError(f"the bundle name {self.name[:80]!r} is not a plain file name")
        if not self.programs:
            raise ValueError("a bundle needs at least one program")
        if len({program.name.lower() for program in self.programs}) < len(self.programs):
            raise ValueError("two programs have the same name")
        # Compared as a disk that ignores case would.
        names = [*(entry.file.lower() for entry in self.files), MANIFEST_FILE, SIGNATURE_FILE]
        if len(set(names)) < len(names):
            raise ValueError("the model files, golden files and manifest must be files of their own, none model.sig")
        if max(entry.bytes for entry in self.files) > MAX_FILE_BYTES:
            raise ValueError(f"a file may have {MAX_FILE_BYTES:,} bytes at most")
        if sum(entry.bytes for entry in self.files) > MAX_BUNDLE_BYTES:
            raise ValueError(f"its files may have {MAX_BUNDLE_BYTES:,} bytes together at most")
        if self.format_version > 1:
            self._check_format_2()

    def _check_format_2(self) -> None:
        if any(program.golden.replay == "joint" for program in self.programs):
            raise ValueError("the replay rule 'joint' is that of format 1")
        picture, taken = self.preprocessing, self.programs[0].inputs[0]
        if picture and (taken.dtype, taken.shape[1:]) != (picture.dtype, picture.shape[1:]):
            raise ValueError(
                f"preprocessing gives {picture.dtype} {list(picture.shape)}, the first program takes {taken.dtype} "
                f"{taken.shape_text}"
            )

    def program(self, name: str | None = None) -> Program:
        """The program of this name; without one the only program, or that called "main".

        Raises:
            UsageError: there is no such program, or several and none is called "main".
        """
        if name is None and len(self.programs) == 1:
            return self.programs[0]
        for program in self.programs:
            if program.name == (name or MAIN):
                return program
        known = " and ".join(program.name for program in self.programs)
        if name is None:
            raise UsageError(
                f"{self.name} has the programs {known}, and this takes one. From Python: "
                f"load_engine(bundle, program={self.programs[0].name!r})"
            )
        raise UsageError(f"{self.name} has no program {name[:80]!r}. It has {known}")

    def only(self, name: str | None = None) -> Manifest:
        """The same manifest with one of its programs, as `program` picks it, and nothing of the others.

        A picture and the verdict are the first program's.
        """
        chosen = self.program(name)
        if chosen is self.programs[0]:
            return replace(self, programs=(chosen,))
        return replace(self, programs=(chosen,), preprocessing=None, verdict=None)

    @property
    def files(self) -> tuple[Artifact | Golden, ...]:
        """Every file that the manifest has the hash of, in its order."""
        return tuple(entry for program in self.programs for entry in program.files)

    @property
    def model_bytes(self) -> int:
        """The size of all model files together."""
        return sum(program.artifact.bytes for program in self.programs)

    @property
    def artifact(self) -> Artifact:
        return self.program().artifact

    @property
    def golden(self) -> Golden:
        return self.program().golden

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        return self.program().inputs

    @property
    def outputs(self) -> tuple[OutputSpec, ...]:
        return self.program().outputs

    @property
    def engines(self) -> tuple[EngineRun, ...]:
        return self.program().engines

    @property
    def batch(self) -> BatchRange | None:
        """How many rows a run may have; None where the batch is fixed."""
        return self.program().batch

    def to_bytes(self) -> bytes:
        """The exact bytes of `manifest.json`, checksum included.

        Raises:
            ValueError: an older format, or a field of the wrong type.
        """
        if self.format_version != FORMAT_VERSION:
            raise ValueError(f"{self.name} is of format {self.format_version}; only {FORMAT_VERSION} is written")
        # Decoded once more: a whole number where a fraction belongs would be written otherwise than it is read.
        return sealed(to_plain(decode(Manifest, to_plain(self), whole=True)))


def one_floor(outputs: Sequence[TensorSpec], floor: Floor) -> dict[str, Floor]:
    """The same floor for each output."""
    return {spec.name: floor for spec in outputs}
