"""A bundle: a folder, or one `.zip`, of a model file, `manifest.json` and `golden.npz`.

`Bundle.open` reads the manifest and checks every file before any native library sees one. Opening never loads the
model; `engines.load` does. A bundle knows nothing about how it was made.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from .archive import extract_zip, write_zip
from .errors import BundleError
from .files import is_plain_file, sha256_file
from .golden import GoldenSet, load_golden
from .manifest import MANIFEST_FILE, MAX_MANIFEST_BYTES, Artifact, Golden, Manifest, read_manifest

MAX_FILE_BYTES = 8 << 30


class Bundle:
    """A bundle whose manifest and checksums were read and found good.

    Attributes:
        folder: where its files lie. For a `.zip` a private temporary folder, removed by `close`.
        source: what was opened, for messages.
        manifest: the decoded `manifest.json`.
    """

    def __init__(self, folder: Path, source: Path, manifest: Manifest, temporary: tempfile.TemporaryDirectory | None):
        self.folder = folder
        self.source = source
        self.manifest = manifest
        self._temporary = temporary

    @classmethod
    def open(cls, path: str | Path) -> Bundle:
        """Opens a folder or `.zip` and verifies size and SHA-256 of each file.

        Raises:
            BundleError: nothing there, a missing, changed or linked file, a hostile archive, a newer format.
        """
        source = Path(path)
        if source.is_dir():
            return cls._open_folder(source, source, None)
        if not source.exists():
            raise BundleError(f"no bundle at {source}. `edgekit optimize MODEL` makes bundles in bundles/")
        if not is_plain_file(source):
            raise BundleError(f"{source} is neither a bundle folder nor a .zip file")
        temporary = tempfile.TemporaryDirectory(prefix="edgekit-bundle-")
        try:
            extract_zip(source, Path(temporary.name))
            return cls._open_folder(Path(temporary.name), source, temporary)
        except BaseException:
            temporary.cleanup()
            raise

    @classmethod
    def _open_folder(cls, folder: Path, source: Path, temporary: tempfile.TemporaryDirectory | None) -> Bundle:
        path = folder / MANIFEST_FILE
        if not is_plain_file(path):
            raise BundleError(f"{source} is not a bundle: it holds no {MANIFEST_FILE}")
        if path.stat().st_size > MAX_MANIFEST_BYTES:
            raise BundleError(f"{source}: {MANIFEST_FILE} is larger than {MAX_MANIFEST_BYTES:,} bytes")
        manifest = read_manifest(path.read_bytes(), str(source))
        for entry in (manifest.artifact, manifest.golden):
            _check_file(folder, source, entry)
        return cls(folder, source, manifest, temporary)

    @property
    def name(self) -> str:
        return self.manifest.name

    @property
    def model_path(self) -> Path:
        return self.folder / self.manifest.artifact.file

    @property
    def verified(self) -> bool:
        return self.manifest.status == "verified"

    def golden(self) -> GoldenSet:
        """The golden samples, held to the manifest's tensors. Raises BundleError."""
        manifest = self.manifest
        return load_golden(self.folder / manifest.golden.file, manifest.inputs, manifest.outputs)

    def save_zip(self, target: str | Path) -> Path:
        """Packs the bundle into one deterministic `.zip`: equal bundles give equal bytes."""
        manifest = self.manifest
        names = (MANIFEST_FILE, manifest.artifact.file, manifest.golden.file)
        write_zip([(name, self.folder / name) for name in names], Path(target))
        return Path(target)

    def close(self) -> None:
        """Removes the temporary folder of a `.zip`; a folder bundle is left as it is."""
        if self._temporary is not None:
            self._temporary.cleanup()

    def __enter__(self) -> Bundle:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Bundle({self.name!r}, {self.manifest.status}, {str(self.source)!r})"


def find_bundles(root: str | Path) -> list[Path]:
    """The bundle folders and `.zip` files directly inside `root` (or `root` itself), sorted by name."""
    root = Path(root)
    if (root / MANIFEST_FILE).is_file() or root.suffix == ".zip":
        return [root]
    if not root.is_dir():
        raise BundleError(f"no folder {root}. `edgekit quickstart` makes bundles in bundles/")
    return sorted(p for p in root.iterdir() if (p / MANIFEST_FILE).is_file() or (p.suffix == ".zip" and p.is_file()))


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
