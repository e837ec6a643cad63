"""A bundle: a folder, or one `.zip`, of model files, `manifest.json`, golden files and, if signed, `model.sig`.

`Bundle.open` reads the manifest and checks every file before any native library sees one. Opening never loads the
model; `engines.load` does. A bundle knows nothing about how it was made.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from ..command_line import EDGEKIT
from ..errors import BundleError, shown
from ..files import check_output, copy_plain, is_plain_file, sha256_file
from ..temporary import LockedFolder
from .archive import extract_zip, write_zip
from .golden import GoldenSet, load_golden
from .limits import MAX_FILE_BYTES, MAX_MANIFEST_BYTES, MAX_SIGNATURE_BYTES
from .manifest import Artifact, Golden, Manifest
from .names import MANIFEST_FILE, SIGNATURE_FILE
from .reading import read_manifest


class Bundle:
    """A bundle whose manifest and checksums were read and found good.

    Attributes:
        folder: where its files are. For a `.zip`, or a private copy, a temporary folder that `close` removes.
        source: what was opened, for messages.
        manifest: the decoded `manifest.json`.
        sha256: of `manifest.json`, which has the hashes of all other files: the bundle's own hash.
    """

    def __init__(
        self,
        folder: Path,
        source: Path,
        manifest: Manifest,
        sha256: str,
        temporary: LockedFolder | None,
    ):
        self.folder = folder
        self.source = source
        self.manifest = manifest
        self.sha256 = sha256
        self._temporary = temporary

    @classmethod
    def open(cls, path: str | Path, *, private: bool = False, called: str | Path | None = None) -> Bundle:
        """Opens a folder or `.zip` and verifies size and SHA-256 of each file.

        Args:
            private: check and use a copy in a temporary folder that only this user can write to, so that no file can
                be changed between check and use. A `.zip` is always unpacked into one.
            called: what messages call it instead of `path`, if `path` is such a copy.
        Raises:
            BundleError: nothing there; a missing, changed, linked or extra file; a hostile archive; a newer format.
        """
        opened = Path(path)
        source = Path(called or path)
        try:
            there = opened.exists()
        except (OSError, ValueError) as error:  # a path of 5,000 characters, or with a NUL in it
            raise BundleError(f"{shown(source)} is not a path to a bundle: {error.args[-1]}. Check the path") from None
        if not there:
            raise BundleError(f"no bundle at {shown(source)}. `{EDGEKIT} optimize MODEL` makes bundles in bundles/")
        if not opened.is_dir() and not is_plain_file(opened):
            raise BundleError(f"{source} is neither a bundle folder nor a .zip file")
        if opened.is_dir() and not private:
            return cls._open_folder(opened, source, None)
        temporary = LockedFolder()
        try:
            if opened.is_dir():
                _copy_folder(opened, source, temporary.path)
            else:
                extract_zip(opened, temporary.path)
            return cls._open_folder(temporary.path, source, temporary)
        except BaseException:
            temporary.remove()
            raise

    @classmethod
    def _open_folder(cls, folder: Path, source: Path, temporary: LockedFolder | None) -> Bundle:
        try:
            raw = _manifest_bytes(folder, source)
            manifest = read_manifest(raw, str(source))
            _check_content(folder, source, manifest)
            for entry in manifest.files:
                _check_file(folder, source, entry)
        except OSError as error:  # no permission, a broken disk, or a file that is taken away meanwhile
            raise BundleError(f"{source} cannot be read: {error.strerror or error}. Fetch the bundle again") from None
        return cls(folder, source, manifest, hashlib.sha256(raw).hexdigest(), temporary)

    @property
    def name(self) -> str:
        return self.manifest.name

    @property
    def model_path(self) -> Path:
        """The model file of the only program. Raises UsageError where there are several."""
        return self.path_of()

    def path_of(self, program: str | None = None) -> Path:
        """The model file of a program, as `Manifest.program` picks it. Raises UsageError."""
        return self.folder / self.manifest.program(program).artifact.file

    @property
    def verified(self) -> bool:
        return self.manifest.status == "verified"

    @property
    def signed(self) -> bool:
        """Whether it carries a signature; `signature.check` says whose."""
        return (self.folder / SIGNATURE_FILE).exists()

    @property
    def is_private(self) -> bool:
        """Whether its files are in a temporary folder that only this user can write to."""
        return self._temporary is not None

    def golden(self, program: str | None = None) -> GoldenSet:
        """A program's golden samples, checked against the manifest's tensors.

        Args:
            program: as `Manifest.program` picks it.
        Raises:
            BundleError: the golden file is damaged, or does not hold what the manifest says.
            UsageError: no such program.
        """
        chosen = self.manifest.program(program)
        golden = load_golden(self.folder / chosen.golden.file, chosen)
        if golden.samples != chosen.golden.samples:
            raise BundleError(
                f"{self.source}: {chosen.golden.file} holds {golden.samples} samples, the manifest says "
                f"{chosen.golden.samples}. Pack the bundle again"
            )
        return golden

    def save_zip(self, target: str | Path) -> Path:
        """Packs the bundle into one deterministic `.zip`: equal bundles give equal bytes.

        Raises:
            UsageError: `target` lies in the bundle's own folder. BundleError: as `write_zip`.
        """
        check_output(Path(target), [self.folder])
        names = [MANIFEST_FILE, *(entry.file for entry in self.manifest.files), *([SIGNATURE_FILE] * self.signed)]
        write_zip([(name, self.folder / name) for name in names], Path(target))
        return Path(target)

    def close(self) -> None:
        """Removes the temporary folder of a `.zip`; a folder bundle is left as it is."""
        if self._temporary is not None:
            self._temporary.remove()

    def __enter__(self) -> Bundle:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Bundle({self.name!r}, {self.manifest.status}, {str(self.source)!r})"


def find_bundles(root: str | Path) -> list[Path]:
    """The bundle folders and `.zip` files directly inside `root` (or `root` itself), sorted by name.

    Hidden names are left out: that is what is still being written, or what a killed process left.
    """
    root = Path(root)
    if (root / MANIFEST_FILE).is_file() or root.suffix == ".zip":
        return [root]
    if not root.is_dir():
        raise BundleError(f"no folder {root}. `{EDGEKIT} quickstart` makes bundles in bundles/")
    shown = (path for path in root.iterdir() if not path.name.startswith("."))
    return sorted(p for p in shown if (p / MANIFEST_FILE).is_file() or (p.suffix == ".zip" and p.is_file()))


def _manifest_bytes(folder: Path, source: Path) -> bytes:
    path = folder / MANIFEST_FILE
    if not is_plain_file(path):
        raise BundleError(f"{source} is not a bundle: it holds no {MANIFEST_FILE}")
    with path.open("rb") as file:
        return file.read(MAX_MANIFEST_BYTES + 1)


def _check_content(folder: Path, source: Path, manifest: Manifest) -> None:
    """Only the bundle's own files: a model file can refer to others beside it, and native code would read them."""
    known = {MANIFEST_FILE, SIGNATURE_FILE, *(entry.file for entry in manifest.files)}
    others = sorted({path.name for path in folder.iterdir()} - known)
    if others:
        left = others[0].startswith(f".{SIGNATURE_FILE}.") and others[0].endswith(".part")
        remedy = (
            f"`{EDGEKIT} sign` was interrupted: sign the bundle again, or remove that file" if left else "Remove it"
        )
        raise BundleError(
            f"{source} holds {others[0]!r}, which is not part of the bundle: no checksum covers it. {remedy}"
        )
    signature = folder / SIGNATURE_FILE
    if signature.is_symlink() or signature.exists():
        if not is_plain_file(signature):
            raise BundleError(f"{source}: {SIGNATURE_FILE} is not a plain file. Fetch the bundle again")
        if signature.stat().st_size > MAX_SIGNATURE_BYTES:
            raise BundleError(
                f"{source}: {SIGNATURE_FILE} has {signature.stat().st_size:,} bytes; at most {MAX_SIGNATURE_BYTES:,} "
                "are read. Sign the bundle again"
            )


def _copy_folder(folder: Path, source: Path, into: Path) -> None:
    """Copies the bundle's files, without following links; their content is checked afterwards."""
    manifest = read_manifest(_manifest_bytes(folder, source), str(source))
    _check_content(folder, source, manifest)
    sizes = {
        MANIFEST_FILE: MAX_MANIFEST_BYTES,
        **{entry.file: entry.bytes for entry in manifest.files},
    } | ({SIGNATURE_FILE: MAX_SIGNATURE_BYTES} if (folder / SIGNATURE_FILE).exists() else {})
    for name, size in sizes.items():
        try:
            copy_plain(folder / name, into / name, most_bytes=min(size, MAX_FILE_BYTES))
        except OSError as error:
            raise BundleError(f"{source}: {name} could not be copied: {error.strerror or error}") from None


def _check_file(folder: Path, source: Path, entry: Artifact | Golden) -> None:
    path = folder / entry.file
    if not is_plain_file(path):
        raise BundleError(f"{source}: {entry.file} is missing or is not a plain file")
    size = path.stat().st_size
    if size != entry.bytes or size > MAX_FILE_BYTES:
        raise BundleError(
            f"{source}: {entry.file} has {size:,} bytes, the manifest says {entry.bytes:,}. Fetch the bundle again"
        )
    if sha256_file(path) != entry.sha256:
        raise BundleError(
            f"{source}: {entry.file} was changed or damaged after packing (SHA-256 differs from the manifest's). "
            "Fetch the bundle again"
        )
