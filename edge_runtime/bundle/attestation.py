"""Attestations: what a replay of a bundle's golden samples gave on some device. They are beside it, never in it.

`NAME.attest.json` says where, when and by which runtime the replay was run, and what came out, output by output. It is
bound to the bundle by the SHA-256 of its manifest's bytes, and signed with the same keys, in `NAME.attest.sig`. This
module reads, writes and finds them; `worker/attest.py` makes one.
"""

from __future__ import annotations

import datetime
import re
from dataclasses import dataclass, field
from pathlib import Path

from ..command_line import EDGEKIT
from ..decode import DecodeError, decode, to_plain
from ..errors import BundleError, shown
from ..files import is_plain_file
from .limits import MAX_MANIFEST_BYTES, MAX_PROGRAMS, MAX_TENSORS
from .names import PROGRAM_NAME, SAFE_NAME, SHA256, TENSOR_NAME
from .sealed import check_limits, check_seal, difference, parse_sealed, sealed
from .verdict import MAX_SAMPLES

ATTESTATION_VERSION = 1
SUFFIX, SIGNATURE_SUFFIX = ".attest.json", ".attest.sig"
MOMENT = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z")
_MOST_BESIDE = 64  # attestations of one bundle that are read


@dataclass(frozen=True, kw_only=True)
class Device:
    """Where the replay was run."""

    processor: str
    """Its name."""
    system: str
    """The operating system and the machine's architecture."""
    num_threads: int
    """CPU threads inside one run."""

    def __post_init__(self) -> None:
        if not 1 <= self.num_threads <= 65_536:
            raise ValueError(f"num_threads should be 1 to 65,536, found {self.num_threads}")


@dataclass(frozen=True, kw_only=True)
class OutputResult:
    """What the replay gave for one output of one program, against the float model's answers."""

    program: str
    """The program."""
    output: str
    """Its output; "" for all outputs of a bundle of format 1."""
    engine: str
    """The library that ran it, and its version: "onnxruntime 1.32.0"."""
    samples: int
    """How many samples were replayed."""
    sqnr_db: float
    """SQNR."""
    agreement: float
    """Share of equal answers."""
    max_abs: float
    """Largest absolute difference."""
    max_abs_since_packed: float | None
    """The same from the answers when the bundle was packed; None if there are none."""
    passed: bool
    """Whether it is close enough."""

    def __post_init__(self) -> None:
        if not PROGRAM_NAME.fullmatch(self.program) or not (self.output == "" or TENSOR_NAME.fullmatch(self.output)):
            raise ValueError("a result should name a program and an output")
        if not (
            1 <= self.samples <= MAX_SAMPLES
            and -200 <= self.sqnr_db <= 200
            and 0 <= self.agreement <= 1
            and self.max_abs >= 0
        ):
            raise ValueError(f"the figures of {self.output!r} are impossible")


@dataclass(frozen=True, kw_only=True)
class Attestation:
    """What `NAME.attest.json` says."""

    attestation_version: int
    """1."""
    bundle: str
    """The bundle's name in its manifest."""
    manifest_sha256: str
    """The SHA-256 of its `manifest.json`, which covers every other file."""
    when: str
    """The time in UTC: "2026-11-28T15:26:00Z"."""
    runtime: str
    """What opened the bundle, by name and version."""
    device: Device
    """Where it ran."""
    results: tuple[OutputResult, ...] = field(metadata={"least": 1, "most": MAX_PROGRAMS * MAX_TENSORS})
    """One for each output of each program."""
    passed: bool
    """Whether every result passed."""

    def __post_init__(self) -> None:
        if not SAFE_NAME.fullmatch(self.bundle) or not SHA256.fullmatch(self.manifest_sha256):
            raise ValueError("an attestation should name a bundle and the SHA-256 of its manifest")
        if not _is_moment(self.when):
            raise ValueError(f"when should be a time in UTC such as 2026-11-28T15:26:00Z, found {self.when[:40]!r}")
        if self.passed != all(result.passed for result in self.results):
            raise ValueError(f"passed is {self.passed}, which contradicts the results")

    def to_bytes(self) -> bytes:
        """The exact bytes of the file, checksum included."""
        return sealed(to_plain(decode(Attestation, to_plain(self), whole=True)))


@dataclass(frozen=True, kw_only=True)
class Beside:
    """A file beside a bundle that looks like one of its attestations."""

    path: Path
    """The file."""
    attestation: Attestation | None
    """What it says; None if it cannot be read."""
    unfit: str
    """Why it does not count for this bundle; "" if it does."""

    @property
    def signature_path(self) -> Path:
        return signature_path(self.path)


def read_attestation(raw: bytes, where: str) -> Attestation:
    """Decodes and checks the bytes of an attestation; `where` names it in errors.

    Raises:
        BundleError: not JSON, a newer version, a wrong checksum, a missing, unknown or impossible field.
    """
    if len(raw) > MAX_MANIFEST_BYTES:
        raise BundleError(f"{where} has more than {MAX_MANIFEST_BYTES:,} bytes, so it is not an attestation")
    try:
        data = parse_sealed(raw)
        version = data.get("attestation_version")
        if type(version) is int and version > ATTESTATION_VERSION:
            raise BundleError(
                f"{where} has attestation version {shown(version, 20)}; this edgekit reads {ATTESTATION_VERSION}. "
                "Upgrade edgekit"
            )
        if type(version) is not int or version != ATTESTATION_VERSION:
            raise DecodeError(f"attestation_version should be {ATTESTATION_VERSION}")
        check_limits(data)
        plain = check_seal(data, raw)
        found = decode(Attestation, plain, whole=True)
        if unlike := difference(plain, to_plain(found)):
            raise DecodeError(f"it is not written in the one form of attestations: {unlike}")
    except DecodeError as error:
        raise BundleError(
            f"{where} was refused: {shown(error)}. Write a new one with `{EDGEKIT} verify --attest`"
        ) from None
    return found


def beside(path: str | Path) -> Path:
    """The first attestation's path, for the bundle at `path`, a folder or a .zip."""
    bundle = Path(path).absolute()
    if bundle.name in ("", ".."):
        bundle = bundle.resolve()
    name = bundle.name if bundle.suffix != ".zip" or bundle.is_dir() else bundle.stem
    return bundle.with_name(f"{name}{SUFFIX}")


def signature_path(path: Path) -> Path:
    """The path of an attestation's signature."""
    return path.with_name(path.name.removesuffix(SUFFIX) + SIGNATURE_SUFFIX)


def find_attestations(path: str | Path, sha256: str) -> list[Beside]:
    """The attestations beside a bundle, by their file names: `NAME.attest.json`, `NAME.2.attest.json`, …

    Args:
        sha256: the bundle's own, which an attestation of it names.
    """
    first = beside(path)
    name = first.name.removesuffix(SUFFIX)
    try:
        paths = sorted(p for p in first.parent.iterdir() if _belongs(p.name, name))[:_MOST_BESIDE]
    except OSError:  # a folder that can be entered but not listed
        paths = []
    return [_read(p, sha256) for p in paths]


def _is_moment(when: str) -> bool:
    try:
        return bool(MOMENT.fullmatch(when)) and datetime.datetime.fromisoformat(when) is not None
    except ValueError:  # such as the 30th of February
        return False


def _belongs(file: str, name: str) -> bool:
    return (
        file == f"{name}{SUFFIX}"
        or re.fullmatch(rf"{re.escape(name)}\.[0-9]{{1,9}}{re.escape(SUFFIX)}", file) is not None
    )


def _read(path: Path, sha256: str) -> Beside:
    try:
        if not is_plain_file(path):
            raise BundleError(f"{path} is not a plain file")
        with path.open("rb") as file:
            found = read_attestation(file.read(MAX_MANIFEST_BYTES + 1), str(path))
    except (BundleError, OSError) as error:
        return Beside(path=path, attestation=None, unfit=shown(error))
    unfit = (
        "" if found.manifest_sha256 == sha256 else "it belongs to another bundle, or to this one before it was changed"
    )
    return Beside(path=path, attestation=found, unfit=unfit)
