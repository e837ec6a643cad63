"""Every error edgekit raises on purpose: what was wrong, what was found, what to do.

The command turns each into one message without a traceback; `exit_status` is what the process ends with.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Iterable

MOST_MESSAGE = 4000  # characters: longer ones hide what they say; their beginning and end are kept


class EdgekitError(Exception):
    """The base of all expected failures. Its text is written for the user, not for a log."""

    exit_status = 1

    def __str__(self) -> str:
        """The message, bounded: names and reasons in it may come from a stranger's file."""
        text = super().__str__()
        return text if len(text) <= MOST_MESSAGE else f"{text[: MOST_MESSAGE // 2]} … {text[-MOST_MESSAGE // 2 :]}"


class UsageError(EdgekitError):
    """The command or function was asked for something that does not exist or does not fit."""

    exit_status = 2


class MissingDependency(EdgekitError):
    """A bundle or verb needs a package that is not installed."""


class MissingData(EdgekitError):
    """A data set or weight file is not on disk and could not be downloaded."""


class NoHome(EdgekitError):
    """This user has no home folder, and nothing says where else to keep files."""


class BundleError(EdgekitError):
    """A bundle was refused: it is damaged, hostile, incomplete or from a newer edgekit."""


class RunsCode(BundleError):
    """Loading a bundle runs code from its file, and nobody allowed that. Nothing is wrong with the bundle itself."""


class EngineError(EdgekitError):
    """An engine could not load or run a model file, or its process died."""


class InputError(EdgekitError):
    """An array or a picture is not what the model takes."""


class ExportError(EdgekitError):
    """An exporter or a recipe could not make a file of this model. The text quotes the library."""


class VerificationError(EdgekitError):
    """A model missed a stage of the chain, or the accuracy gate."""


class Interrupted(EdgekitError):
    """Ctrl-C at a point where the work so far is kept."""

    exit_status = 130


def unknown(kind: str, name: str, known: Iterable[str]) -> UsageError:
    """An error for a name that is not registered; lists the names that are."""
    return UsageError(f"unknown {kind} {shown(repr(name), 80)}. Known: {', '.join(sorted(known))}")


def shown(text: object, most: int = 300) -> str:
    """Text from a file or a library, for a message: one printable line of at most `most` characters."""
    line = " ".join(str(text).split()) or type(text).__name__
    printable = "".join(c if c.isprintable() else "?" for c in line)
    return printable if len(printable) <= most else f"{printable[: most - 1]}…"


_ADVICE = {
    errno.ENOSPC: "Free space there, or choose another place",
    errno.EFBIG: "Raise the limit on the size of files (ulimit -f), or choose another place",
    errno.EACCES: "Choose a place that you may write to, or change its permissions",
    errno.EPERM: "Choose a place that you may write to, or change its permissions",
    errno.EROFS: "Choose a place on a disk that can be written to",
    errno.EEXIST: "That is a file where a folder is needed: choose another place",
    errno.ENOTDIR: "A part of that path is a file, not a folder: choose another place",
    errno.ENOENT: "Check the path",
    errno.ENAMETOOLONG: "Choose a shorter name",
    errno.EMFILE: "Raise the limit on open files (ulimit -n)",
}
if hasattr(errno, "EDQUOT"):
    _ADVICE[errno.EDQUOT] = _ADVICE[errno.ENOSPC]


# A temporary name (`files.write_atomically`), which helps nobody: the file that it was to become is told instead.
_PART = re.compile(r"(?P<folder>^|.*[/\\])\.(?P<target>[^/\\]+?)(\.\d+-\d+-[0-9a-f]{8})?\.[a-z0-9_]{8}\.part$")


def system_text(error: OSError, *, unnamed: str = "") -> str:
    """What the system says of a file, as a sentence: what is wrong, with which file, and what to do.

    Args:
        unnamed: what it is about where the error names no file.
    """
    said = error.strerror or shown(error)
    if error.errno == errno.ENOENT and not error.filename and "temporary directory" in said:
        return f"{said}. Set TMPDIR to a folder that may be written to"
    place = shown(_PART.sub(r"\g<folder>\g<target>", str(error.filename))) if error.filename else unnamed
    advice = _ADVICE.get(error.errno or 0, "")
    return ". ".join(part for part in (f"{said}: {place}" if place else said, advice) if part)
