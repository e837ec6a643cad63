"""The data files of the book's own repository: where they are on disk, and what to do when they are missing.

Source: github.com/deep-learning-with-pytorch/dlwpt-code, folder `data`. Its files are not ours to pass on, so nothing
is downloaded unasked. This module knows no file's content.
"""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

from edgekit.edge_runtime.errors import MissingData
from edgekit.train.data import data_root

_URL = "https://github.com/deep-learning-with-pytorch/dlwpt-code/raw/master/data"


def book_file(relative: str) -> Path:
    """The path of a file such as "p1ch4/tabular-wine/winequality-white.csv" under `data_root()`/book.

    Raises:
        MissingData: it is not there; the message has the command that downloads it.
    """
    path = data_root() / "book" / relative
    if not path.is_file():
        raise MissingData(f"{path} is not there. {how_to_get(relative)}")
    return path


def how_to_get(relative: str) -> str:
    """What to type so that a file of the book's repository is where `book_file` looks for it."""
    path = data_root() / "book" / relative
    return (
        f"It comes with the book's code. To download it, run:\n"
        f"  curl -fL --create-dirs -o '{path}' '{_URL}/{quote(relative)}'\n"
        f"If it is elsewhere on this machine, set EDGEKIT_DATA to the folder that holds book/{relative}"
    )
