"""`manifest.json`, format 2: everything that a device has to know about a model, as frozen dataclasses.

The manifest holds names, not code: `format` picks an engine, `task` and `holds` say how outputs become an answer,
`preprocessing` how a picture becomes an input. It carries its own checksum, and its bytes are canonical, so one flipped
byte anywhere is noticed. This module defines a manifest; `reading` reads one, of this format or an older one.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from ..decode import decode, to_plain
from ..errors import UsageError
from .contract import BatchRange, ImagePreprocessing, OutputSpec, Suppression, TensorSpec
from .limits import MAX_BUNDLE_BYTES, MAX_FILE_BYTES, MAX_PROGRAMS
from .names import MANIFEST_FILE, SAFE_NAME, SIGNATURE_FILE
from .programs import MAIN, Artifact, EngineRun, Floor, Golden, Program, one_floor
from .sealed import sealed
from .status import STATUSES, Status
from .verdict import MAX_SAMPLES, Verdict

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
    "Suppression",
    "TensorSpec",
    "Verdict",
    "WeightsOrigin",
    "one_floor",
]

FORMAT_VERSION = 2
DETECTION = "detection"  # the task whose boxes are suppressed


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A task metric of the artifact on the validation split."""

    name: str
    """The metric."""
    value: float
    """The artifact's value."""
    low: float
    """Lower end of its 95 % interval."""
    high: float
    """Upper end of its 95 % interval."""
    samples: int
    """How many samples it was measured on."""
    float_value: float
    """The float model's value."""
    agreement: float
    """Share of samples with the float model's answer."""


@dataclass(frozen=True, kw_only=True)
class StageResult:
    """One step of the verified chain: how a stage compares with another one on real samples."""

    stage: str
    """What was checked."""
    compared_with: str
    """What it was compared with."""
    max_abs: float
    """Largest absolute difference."""
    relative: float
    """The same over the range of the reference."""
    sqnr_db: float
    """SQNR; 200 dB stands for "identical"."""
    agreement: float
    """Share of samples with the same answer."""
    held_to: str
    """What was required of it."""
    passed: bool
    """Whether it was close enough."""
    program: str = MAIN
    """The program."""
    output: str = ""
    """Its output; "" for all of them side by side."""


@dataclass(frozen=True, kw_only=True)
class WeightsOrigin:
    """Where the weights come from."""

    source: str
    """In words, or as an address; "" if it is not known."""
    licence: str | None
    """Their licence; None if it is not known."""


@dataclass(frozen=True, kw_only=True)
class SamplesOrigin:
    """Where the golden samples come from."""

    source: str
    """In words, or as an address; "" if it is not known."""
    licence: str | None
    """Their licence; None if it is not known."""
    may_travel: bool | None
    """Whether they may be passed on; None if it is not known."""


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Whose work a bundle contains."""

    weights: WeightsOrigin
    """Of the model."""
    golden: SamplesOrigin
    """Of the golden samples."""


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What `manifest.json` says.

    `artifact`, `golden`, `inputs`, `outputs`, `engines` and `batch` are those of the only program. A manifest of format
    1 becomes one of these too when it is read; its `format_version` stays 1, and it is never written.
    """

    format_version: int
    """The format it was written in."""
    name: str
    """The bundle's name."""
    model: str
    """The model it was made from."""
    task: str
    """How outputs become an answer: see `tasks/registry.py`."""
    recipe: str
    """How it was quantized."""
    exporter: str
    """What made the model files."""
    status: Status
    """What was proven of it: see `status.STATUSES`."""
    verdict: Verdict | None
    """On the accuracy of the first program; None if it was not measured."""
    programs: tuple[Program, ...] = field(metadata={"least": 1, "most": MAX_PROGRAMS})
    """One, called "main", unless an application calls several in turn."""
    preprocessing: ImagePreprocessing | None
    """How a picture becomes the first input of the first program; None if that takes arrays."""
    labels: tuple[str, ...]
    """What the answers are called."""
    metrics: tuple[Metric, ...]
    """How good the artifact is."""
    stages: tuple[StageResult, ...]
    """What was checked when it was made."""
    origin: Origin
    """Where weights and samples come from."""
    tools: dict[str, str]
    """The exact versions that made it, by package."""
    provenance: dict[str, str]
    """Notes on how it was made."""
    suppression: Suppression | None = field(default=None, metadata={"left_out": True})
    """Which boxes of a detector count; None, and no such field in JSON, for every other task."""

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
            raise ValueError("two files of the bundle have the same name, or one is called manifest.json or model.sig")
        if max(entry.bytes for entry in self.files) > MAX_FILE_BYTES:
            raise ValueError(f"a file may have at most {MAX_FILE_BYTES:,} bytes")
        if sum(entry.bytes for entry in self.files) > MAX_BUNDLE_BYTES:
            raise ValueError(f"its files may have at most {MAX_BUNDLE_BYTES:,} bytes together")
        if self.format_version > 1:
            self._check_format_2()

    def _check_format_2(self) -> None:
        if any(program.golden.replay == "joint" for program in self.programs):
            raise ValueError("the replay rule 'joint' is only for format 1")
        picture, taken = self.preprocessing, self.programs[0].inputs[0]
        if picture and (taken.dtype, taken.shape[1:]) != (picture.dtype, picture.shape[1:]):
            raise ValueError(
                f"preprocessing gives {picture.dtype} {list(picture.shape)}, the first program takes {taken.dtype} "
                f"{taken.shape_text}"
            )
        if (self.suppression is None) != (self.task != DETECTION):
            raise ValueError(f"suppression belongs to the task {DETECTION!r} and to no other, found {self.task[:80]!r}")
        for program in self.programs:
            program.check_format_2()
        for metric in self.metrics:
            if not (0 <= metric.samples <= MAX_SAMPLES and 0 <= metric.agreement <= 1):
                raise ValueError(f"the figures of the metric {metric.name[:80]!r} are impossible")
        for stage in self.stages:
            share, ratio = 0 <= stage.agreement <= 1, -200 <= stage.sqnr_db <= 200
            if not (share and ratio and stage.max_abs >= 0 and stage.relative >= 0):
                raise ValueError(f"the figures of the stage {stage.stage[:80]!r} are impossible")
        self._check_status()

    def _check_status(self) -> None:
        """So that no manifest claims what its own verdict and stages do not show."""
        if not STATUSES[self.status].held:
            return
        if self.verdict and self.verdict.status != self.status:
            raise ValueError(f"the status is {self.status}, the verdict says {self.verdict.status}")
        missed = [stage.stage for stage in self.stages if not stage.passed]
        if missed:
            raise ValueError(f"the status is {self.status}, but the stage {missed[0][:80]!r} was missed")

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
                f"{self.name} has several programs, {known}, and none is called {MAIN!r}. Load one from Python: "
                f"load_engine(bundle, program={self.programs[0].name!r})"
            )
        raise UsageError(f"{self.name} has no program {name[:80]!r}. It has {known}")

    def only(self, name: str | None = None) -> Manifest:
        """The same manifest with only one of its programs, as `program` picks it.

        Preprocessing and verdict belong to the first program, and are dropped with it.
        """
        chosen = self.program(name)
        if chosen is self.programs[0]:
            return replace(self, programs=(chosen,))
        return replace(self, programs=(chosen,), preprocessing=None, verdict=None)

    @property
    def files(self) -> tuple[Artifact | Golden, ...]:
        """Every file whose hash the manifest has, in order."""
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
    def holds(self) -> dict[str, str]:
        """What each output holds, by its name, in order."""
        return {spec.name: spec.holds for spec in self.outputs}

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
            raise ValueError(f"{self.name} has format {self.format_version}; only {FORMAT_VERSION} can be written")
        # Decoded first: an int in a float field would be written differently from how it is read.
        return sealed(to_plain(decode(Manifest, to_plain(self), whole=True)))
