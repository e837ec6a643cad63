"""The files of a public data set: they are on disk and whole, or downloaded, or an error says what to do.

Knows checksums and folders; `cifar.py` and its neighbours know what is in the files.
"""

from __future__ import annotations

import contextlib
import socket
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from edgekit.edge_runtime.errors import MissingData

_STALLED_S = 20  # torchvision's download would wait for ever on a silent network


@dataclass(frozen=True, kw_only=True)
class Source:
    """A data set that torchvision can download."""

    name: str
    """Its class in torchvision.datasets."""
    title: str
    """What people call it."""
    folder: str
    """Where its files lie under the data root."""
    url: str
    """Where they come from."""
    md5: Mapping[str, str]
    """The checksum of each file, by name."""


def ensure(source: Source, root: Path, download: Callable[[], object]) -> None:
    """Makes sure that each file of `source` under `root` has its MD5; calls `download` if one is missing.

    Raises:
        MissingData: the download failed, or a file is damaged. Damaged files are not overwritten: they may be the
            user's own.
    """
    wrong = _wrong_files(source, root)
    if not wrong:
        return
    command = (
        f"EDGEKIT_DATA={root} python -c "
        f"\"import torchvision; torchvision.datasets.{source.name}('{root}', download=True)\""
    )
    damaged = [path for path in wrong if path.is_file()]
    if damaged:
        raise MissingData(
            f"{damaged[0]} is damaged: its MD5 is not {source.title}'s. Delete it, and download the data set again:\n"
            f"  {command}"
        )
    folder = root / source.folder
    try:
        with impatient(), contextlib.redirect_stdout(sys.stderr):  # standard output may be JSON
            download()
        failed = "it brought other files" if (wrong := _wrong_files(source, root)) else ""
    except Exception as error:  # URLError, RuntimeError, OSError, tarfile's own: each means that files are missing
        failed = str(error)
    if failed:
        raise MissingData(
            f"{source.title} is not on disk: looked for {wrong[0].name} in {folder}, and the download from "
            f"{source.url} failed ({failed}). With a network, run:\n  {command}\n"
            f"If it is elsewhere on this machine, set EDGEKIT_DATA to the folder that holds {source.folder}/"
        )


def _wrong_files(source: Source, root: Path) -> list[Path]:
    from torchvision.datasets.utils import check_integrity

    paths = {root / source.folder / name: md5 for name, md5 in source.md5.items()}
    return [path for path, md5 in paths.items() if not check_integrity(path, md5)]


@contextlib.contextmanager
def impatient() -> Iterator[None]:
    """While it lasts, a silent network fails after 20 seconds instead of never."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_STALLED_S)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
