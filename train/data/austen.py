"""Jane Austen's "Pride and Prejudice": chapter 4's text as characters, and the task "what comes next?".

Source: Project Gutenberg's 1342-0.txt, the book's `p1ch4/jane-austen/1342-0.txt`. A token is a lower-case character's
ASCII code, as in the book; this module knows no model.
"""

from __future__ import annotations

import numpy as np

from edgekit.edge_runtime.errors import MissingData
from edgekit.edge_runtime.preprocess.text import ALPHABET, character_codes
from edgekit.train.data.book import book_file, how_to_get
from edgekit.train.dataset import Dataset, Split

FILE = "p1ch4/jane-austen/1342-0.txt"
_NAMES = {10: "newline", 32: "space"}
LABELS = tuple(chr(c) if 32 < c < 127 else _NAMES.get(c, f"\\x{c:02x}") for c in range(ALPHABET))
CONTEXT = 16
TRAIN_SHARE, CALIBRATION_SHARE = 0.8, 0.05
STRIDE = 12  # between windows to evaluate on: neighbours are nearly the same sample, and a device runs each of them


_START, _END = "*** START OF THIS PROJECT GUTENBERG EBOOK", "*** END OF THIS PROJECT GUTENBERG EBOOK"


def read_text() -> str:
    """The whole file as it is, with Project Gutenberg's notices and the byte order mark: 704,190 characters.

    Raises:
        MissingData: the file is not there, is not UTF-8, or lacks Project Gutenberg's markers.
    """
    path = book_file(FILE)
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise MissingData(f"{path} is damaged: byte {error.start} is not UTF-8 text. {how_to_get(FILE)}") from None
    if not 0 <= text.find(_START) < text.find(_END):
        raise MissingData(f"{path} is damaged: it lacks the lines {_START!r} and {_END!r}. {how_to_get(FILE)}")
    return text


def novel(text: str) -> str:
    """The novel alone: the text between Project Gutenberg's markers, without white space around it."""
    return text[text.index("\n", text.index(_START)) : text.index(_END)].strip()


def characters() -> Dataset:
    """Inputs (N, 16) int64, targets (N,) int64, the character after those 16, in the order of the novel.

    Split by place, so that validation is text the model has never seen: the first 80 % train, with every character as
    a target; the next 5 % are calibration and the last 15 % validation, with every 12th. No window crosses a border.

    Raises:
        MissingData: as `read_text`.
    """
    codes = character_codes(novel(read_text()))
    first, second = int(TRAIN_SHARE * len(codes)), int((TRAIN_SHARE + CALIBRATION_SHARE) * len(codes))
    return Dataset(
        train=_windows(codes[:first], 1),
        calibration=_windows(codes[first:second], 8 * STRIDE),
        validation=_windows(codes[second:], STRIDE),
        origin="Jane Austen, Pride and Prejudice (Project Gutenberg 1342-0), as published with the book",
    )


def _windows(codes: np.ndarray, stride: int) -> Split:
    windows = np.lib.stride_tricks.sliding_window_view(codes, CONTEXT + 1)[::stride]
    return Split(inputs=windows[:, :-1].copy(), targets=windows[:, -1].copy())
