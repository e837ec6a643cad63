"""`manifest.json`, format 2: all that a device has to know about a model, as frozen dataclasses.

The manifest holds names, not code: `format` picks an engine, `task` and `holds` say how outputs become an answer,
`preprocessing` how a picture becomes an input. It carries its own checksum, and its bytes are canonical, so one flipped
byte anywhere is seen. This module says what a manifest is; `reading` reads one, of this format or an older one.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from ..decode import decode, to_plain
from ..errors import UsageError
from .contract import BatchRange, ImagePreprocessing, OutputSpec, TensorSpec
from .limits import MAX_BUNDLE_BYTES, MAX_FILE_BYTES, MAX_PROGRAMS
from .names import MANIFEST_FILE, SAFE_NAME, SIGNATURE_FILE
from .programs import MAIN, Artifact, EngineRun, Floor, Golden, Program, one_floor
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
    "one_floor",
]

FORMAT_VERSION = 2


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
