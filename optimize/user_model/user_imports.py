"""Where a user's own modules are found: in their folders, by their own code. A library's import never means them.

A folder on sys.path would be searched for everybody: a torch.py, click.py or onnx.py in it is run by whatever imports
that name next. So two finders stand in for it. The first answers where the importing code lies in one of the folders,
before anything else is searched, as for a script. The last answers for names that nothing else has, to whoever asks by
a name from elsewhere: unpickling, or a registry of classes. Knows no models.
"""

from __future__ import annotations

import dis
import functools
import importlib
import importlib.metadata
import os
import sys
import sysconfig
import threading
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import CodeType, FrameType, ModuleType

import edgekit

_IMPORT_STATEMENT = dis.opmap["IMPORT_NAME"]
_MACHINERY = (str(importlib.__file__), "<frozen importlib")
_SITE = ("site-packages", "dist-packages")
# In a source checkout the parts lie beside the package, not in it.
OUR_PARTS = ("edge_runtime", "train", "optimize", "demo_app")
OUR_FOLDERS = tuple(
    f"{folder}{os.sep}"
    for folder in (
        Path(edgekit.__file__).resolve().parent,
        *(Path(place) / part for place in edgekit.__path__ for part in OUR_PARTS),
    )
)
_LIBRARY_FOLDERS = (*OUR_FOLDERS, f"{sysconfig.get_path('stdlib')}{os.sep}")

_folders: list[str] = []
_asked = threading.local()  # `name`, `folder`: what `import_named` is about to import in the user's name


def search(folder: Path) -> None:
    """Looks for the modules of user code in `folder` from now on; the latest folder first."""
    place = os.path.realpath(folder)
    if place in _folders:
        _folders.remove(place)
    _folders.insert(0, place)
    if _FIRST not in sys.meta_path:
        sys.meta_path.insert(0, _FIRST)
    if _LAST not in sys.meta_path:
        sys.meta_path.append(_LAST)


def folders() -> tuple[str, ...]:
    """What `search` was told, the latest last, so that another process can be told the same in this order."""
    return tuple(reversed(_folders))


def import_named(name: str, folder: Path) -> ModuleType:
    """Imports "package.module" as an import statement of the user's code in `folder` would."""
    search(folder)
    _asked.name, _asked.folder = name.partition(".")[0], os.path.realpath(folder)
    try:
        return importlib.import_module(name)
    finally:
        _asked.name = None


def is_library(name: str) -> bool:
    """Whether a top-level name is the standard library's, or the one that a distribution goes by: torch, PIL of pillow.

    Not so the tests/ or utils.py that many install besides: these names are free.
    """
    if name in sys.stdlib_module_names:
        return True
    others = (finder for finder in sys.meta_path if finder not in (_FIRST, _LAST))
    if all(finder.find_spec(name, None) is None for finder in others):
        return False
    try:
        importlib.metadata.distribution(name)
        return True
    except importlib.metadata.PackageNotFoundError:
        return name in _unlike_their_distributions()


@functools.cache
def _unlike_their_distributions() -> frozenset[str]:
    """The top-level names of those distributions that have none of their own name."""
    of: dict[str, set[str]] = {}
    for name, distributions in importlib.metadata.packages_distributions().items():
        for distribution in distributions:
            of.setdefault(distribution.lower().replace("-", "_").replace(".", "_"), set()).add(name)
    return frozenset().union(*(names for plain, names in of.items() if plain not in map(str.lower, names)))


class _First:
    """Answers to the user's own code, whatever else has the name; but not for libraries and the standard one."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if path is not None or fullname in sys.stdlib_module_names:
            return None
        if getattr(_asked, "name", None) == fullname:
            _asked.name, places = None, [_asked.folder]
        else:
            caller, _ = _importer()
            asking = _path_of(caller)
            if asking is None or not (around := [place for place in _folders if _lies_in(asking, place)]):
                return None
            # Of several folders the innermost: two models of one session may both have a utils.py.
            places = sorted(around, key=len, reverse=True) + [place for place in _folders if place not in around]
        spec = PathFinder.find_spec(fullname, places)
        if spec is None or (spec.loader is None and not _holds_python(spec)) or is_library(fullname):
            return None
        return spec


class _Last:
    """Answers for what nothing else has, unless it is a library that imports it: that is missing then."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if path is not None:
            return None
        caller, by_statement = _importer()
        if by_statement and _lies_in_library(caller):
            return None
        return PathFinder.find_spec(fullname, _folders)


_FIRST, _LAST = _First(), _Last()


def _importer() -> tuple[CodeType | None, bool]:
    """The code that imports, and whether it does so by a statement or a look whether something is there."""
    frame: FrameType | None = sys._getframe(2)
    looks = False
    while frame is not None and frame.f_code.co_filename.startswith(_MACHINERY):
        looks |= frame.f_code.co_name == "find_spec" and frame.f_code.co_filename.endswith("util>")
        frame = frame.f_back
    if frame is None:
        return None, False
    return frame.f_code, looks or frame.f_code.co_code[frame.f_lasti] == _IMPORT_STATEMENT


@functools.lru_cache(4096)
def _real(filename: str) -> str:
    return os.path.realpath(filename)


def _path_of(code: CodeType | None) -> str | None:
    return None if code is None or code.co_filename.startswith("<") else _real(code.co_filename)


def _lies_in(path: str, folder: str) -> bool:
    """Whether a file is the user's own in `folder`: an environment within it holds libraries."""
    inside = path.startswith(folder.rstrip(os.sep) + os.sep)
    return inside and not path.startswith(_LIBRARY_FOLDERS) and not set(_SITE) & set(Path(path[len(folder) :]).parts)


def _lies_in_library(code: CodeType | None) -> bool:
    path = _path_of(code)
    return path is not None and (path.startswith(_LIBRARY_FOLDERS) or bool(set(_SITE) & set(Path(path).parts)))


def _holds_python(spec: ModuleSpec) -> bool:
    """Whether a folder without __init__.py is a package at all, and not one of pictures or of exported models."""
    places = map(Path, spec.submodule_search_locations or ())
    return any(next(place.glob(pattern), None) for place in places for pattern in ("*.py", "*/*.py"))
