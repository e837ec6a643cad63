"""Files of a public data set: on disk and whole, or downloaded, or an error that says what to do.

Knows MD5s, folders and how to say what is missing; what is in the files, `cifar.py` and its neighbours know.
"""

from __future__ import annotations

import contextlib
import socket
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from edgekit.edge_runtime.errors import MissingData

_STALLED_S = 20  # torchvision's download waits for ever on a silent network


@dataclass(frozen=True, kw_only=True)
class Source:
    """A data set that torchvision can fetch.

    `name` is its class in torchvision.datasets, `title` what people call it, `folder` where its files lie under the
    data root, `url` where they come from, `md5` each file's checksum by name.
    """

    name: str
    title: str
    folder: str
    url: str
    md5: Mapping[str, str]


def ensure(source: Source, root: Path, download: Callable[[], object]) -> None:
    """Returns when each file of `source` under `root` has its MD5; calls `download` when one is not there.

    Raises:
        MissingData: the download failed, or a file is damaged. That one is not overwritten: it may be the user's own.
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
            f"{damaged[0]} is damaged: its MD5 is not {source.title}'s. Delete it and fetch the data set again:\n"
            f"  {command}"
        )
    folder = root / source.folder
    try:
        with impatient(), contextlib.redirect_stdout(sys.stderr):  # standard output may be somebody's JSON
            download()
        failed = "it brought other files" if (wrong := _wrong_files(source, root)) else ""
    except (
        Exception
    ) as error:  # URLError, RuntimeError, OSError, tarfile's own: each means that the files are not there
        failed = str(error)
    if failed:
        raise MissingData(
            f"{source.title} is not on disk: looked for {wrong[0].name} in {folder}, and the download from "
            f"{source.url} failed ({failed}). With a network, run:\n  {command}\n"
            f"Elsewhere on this machine? Set EDGEKIT_DATA to the folder that holds {source.folder}/"
        )


def _wrong_files(source: Source, root: Path) -> list[Path]:
    from torchvision.datasets.utils import check_integrity

    paths = {root / source.folder / name: md5 for name, md5 in source.md5.items()}
    return [path for path, md5 in paths.items() if not check_integrity(path, md5)]


@contextlib.contextmanager
def impatient() -> Iterator[None]:
    """A silent network fails after 20 seconds instead of never, while this lasts."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_STALLED_S)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
