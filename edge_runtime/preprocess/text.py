"""Text as a model of characters takes it: each one's ASCII code, in lower case. Training uses the same code.

Knows no model; how many characters one takes is said by its input.
"""

from __future__ import annotations

import numpy as np

ALPHABET = 128  # ASCII
_QUOTES = str.maketrans("“”", '""')


def character_codes(text: str) -> np.ndarray:
    """Characters to (N,) int64 ASCII codes of their lower case; curly quotes become straight, other characters 0."""
    codes = np.array([ord(character) for character in text.lower().translate(_QUOTES)], np.int64)
    return np.where(codes < ALPHABET, codes, 0)


def last_characters(text: str, length: int) -> np.ndarray:
    """The codes (`length`,) of the last characters of `text`, with spaces before a shorter one."""
    return character_codes(text.rjust(length)[-length:])
