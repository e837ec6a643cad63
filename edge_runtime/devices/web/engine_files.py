"""onnxruntime-web's own files, from the package of one pinned version, which npm fetches once into the user's cache.

The package's hash is pinned too, so it does not matter where it comes from. Knows no bundle.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import io
import os
import re
import shutil
import subprocess
import tarfile
from collections.abc import Mapping
from pathlib import Path

from ...errors import MissingDependency, shown
from ...files import cached, keep
from ...temporary import temporary_folder

PACKAGE = "onnxruntime-web"
VERSION = "1.30.0"
INTEGRITY = "q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="  # its SHA-512
ARCHIVE = f"{PACKAGE}-{VERSION}.tgz"
NODE = "Install Node.js 20 or newer, which brings npm (Debian: apt-get install nodejs npm)"
_PATIENCE_S = 300
# What the app calls a file -> what the package calls it. Servers know .js, and some of them no .mjs.
WASM = {
    "engine/ort.js": "ort.wasm.min.mjs",
    "engine/glue.js": "ort-wasm-simd-threaded.mjs",
    "engine/ort.wasm": "ort-wasm-simd-threaded.wasm",
}
WEBGPU = {
    "engine/ort-webgpu.js": "ort.webgpu.min.mjs",
    "engine/glue-webgpu.js": "ort-wasm-simd-threaded.asyncify.mjs",
    "engine/ort-webgpu.wasm": "ort-wasm-simd-threaded.asyncify.wasm",
}
_SOURCE_MAP = re.compile(rb"\n?//# sourceMappingURL=\S+\s*$")  # a browser's tools would ask for files that are not here


def engine_files(names: Mapping[str, str]) -> dict[str, bytes]:
    """The files `names`, as the app calls them -> as the package does, from the cache or by npm.

    Raises:
        MissingDependency: the package is not in the cache, and npm is not installed or cannot fetch it.
    """
    return _extracted(tuple(names.items()))


@functools.lru_cache(maxsize=1)  # unpacking takes a second or two
def _extracted(names: tuple[tuple[str, str], ...]) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    wanted = {f"package/dist/{inside}": name for name, inside in names}
    with tarfile.open(fileobj=io.BytesIO(_package()), mode="r:gz") as archive:
        for member in archive:
            if member.name in wanted:
                file = archive.extractfile(member)
                assert file is not None  # the package's hash was right, so its files are there
                found[wanted[member.name]] = _SOURCE_MAP.sub(b"\n", file.read())
            if len(found) == len(wanted):
                break
    return found


def _package() -> bytes:
    place = cached(ARCHIVE)
    if place is not None and place.is_file():
        content = place.read_bytes()
        if _is_right(content):
            return content
    content = _fetched(place)
    if not _is_right(content):
        raise MissingDependency(
            f"npm fetched {PACKAGE} {VERSION}, but not with the bytes that this edgekit was tested with: its SHA-512 "
            "is another. Ask whoever runs your package registry"
        )
    keep(place, content)
    return content


def _is_right(content: bytes) -> bool:
    return base64.b64encode(hashlib.sha512(content).digest()).decode() == INTEGRITY


def _fetched(place: Path | None) -> bytes:
    npm = shutil.which("npm")
    if npm is None:
        raise MissingDependency(
            f"the app needs {PACKAGE} {VERSION}, which npm fetches, and npm is not installed. {NODE}"
        )
    quiet = {"NPM_CONFIG_UPDATE_NOTIFIER": "false", "NPM_CONFIG_FUND": "false", "NPM_CONFIG_AUDIT": "false"}
    # In a folder of our own, so that no .npmrc or package.json of the user's current one is read.
    with temporary_folder() as folder:
        command = [npm, "pack", f"{PACKAGE}@{VERSION}", "--silent", "--ignore-scripts"]
        try:
            done = subprocess.run(
                command,
                cwd=folder,
                env=os.environ | quiet,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=_PATIENCE_S,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise _not_fetched(error, place) from None
        archive = folder / ARCHIVE
        if done.returncode or not archive.is_file():
            raise _not_fetched((done.stderr or done.stdout).decode(errors="replace"), place)
        return archive.read_bytes()


def _not_fetched(why: object, place: Path | None) -> MissingDependency:
    said = str(why).strip() or "it did not say why"
    or_copy = f", or copy {ARCHIVE} to {place.parent} from another machine" if place else ""
    return MissingDependency(
        f"npm could not fetch {PACKAGE} {VERSION}: {shown(said, 200)}. Try again with a network{or_copy}"
    )
