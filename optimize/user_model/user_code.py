"""A user's own Python: imported by name or from a file, and its errors told as the user's, with file and line.

Nothing here knows models. What a frame of a traceback belongs to is decided by where its file lies.
"""

from __future__ import annotations

import ast
import contextlib
import importlib.util
import linecache
import os
import sys
import sysconfig
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType, ModuleType

import edgekit
from edgekit.edge_runtime.errors import EdgekitError, MissingData, UsageError

from .user_imports import OUR_FOLDERS, import_named, is_library, search

_MODELS = tuple(f"{Path(place) / 'train'}{os.sep}" for place in edgekit.__path__)
_STDLIB = sysconfig.get_path("stdlib")
# Libraries between the user's code and ours; any other installed package may be the user's own.
_LIBRARIES = (
    *("torch", "torchvision", "timm", "torchao", "executorch", "onnx", "onnxscript", "onnx_ir", "onnxruntime"),
    "coremltools",
    *("numpy", "huggingface_hub", "safetensors", "lightning", "typer", "click", "_pytest", "pluggy"),
)


def find(what: str) -> object:
    """What "package.module:name" or "path/to/file.py:name" stands for; the current folder counts as on the path.

    Raises:
        MissingData: no such file.
        UsageError: no such module or name, or the user's module fails while it is imported.
    """
    place, _, name = what.rpartition(":")
    module = import_file(Path(place)) if place.endswith(".py") else _import_module(place)
    found: object = module
    for part in name.split("."):
        if not hasattr(found, part):
            own = (key for key, value in vars(module).items() if not isinstance(value, ModuleType))
            offered = ", ".join(key for key in own if not key.startswith("_")) or "nothing"
            raise UsageError(f"{place} has no {name!r}. It has: {offered[:300]}")
        found = getattr(found, part)
    return found


def import_file(path: Path) -> ModuleType:
    """Imports a user's file; again gives the same module.

    Its folder is searched for what it imports, as for a script, and its name is its own stem. One with relative imports
    is a part of a package: `python -m package.file`, with the folder around the package searched as well.
    """
    path = path.resolve()
    if not path.is_file():
        raise MissingData(f"there is no file {path}. Give the path of your Python file, then a colon and a name in it")
    name, root = _module_of(path)
    known = sys.modules.get(name)
    if known is not None and getattr(known, "__file__", None) == str(path):
        return known
    top = name.partition(".")[0]
    if known is not None or is_library(top) or (top != name and not _is_folder(sys.modules.get(top), root / top)):
        called = path.name if top == name else f"the package {top}/ of {path.name}"
        raise UsageError(f"{called} has the name of another module that is in use. Rename it")
    search(path.parent)
    if root != path.parent:
        with user_errors(f"importing {path.name}"):
            return import_named(name, root)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module  # before it runs, as import does: its classes are looked up there
    try:
        with user_errors(f"importing {path.name}"):
            spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[path.stem]
        raise
    return module


def _module_of(path: Path) -> tuple[str, Path]:
    """The dotted name under which a file is imported, and the folder in which that name is found."""
    target = path.parent if path.stem == "__init__" else path.with_suffix("")
    levels, above = _relative_level(path), 0
    if levels:
        while (target.parents[above] / "__init__.py").is_file():
            above += 1
        above = max(above, levels - (path.stem == "__init__"))
    root = target.parents[min(above, len(target.parents) - 1)]
    return ".".join(target.relative_to(root).parts), root


def _relative_level(path: Path) -> int:
    """How many dots the relative import with the most of them has; 0 without one, or where the file is no Python."""
    with contextlib.suppress(SyntaxError, ValueError):  # its import says what is wrong
        nodes = ast.walk(ast.parse(path.read_bytes()))
        return max((node.level for node in nodes if isinstance(node, ast.ImportFrom)), default=0)
    return 0


def _is_folder(module: ModuleType | None, folder: Path) -> bool:
    """Whether a package that is imported already, if it is, lies there."""
    return module is None or str(folder) in getattr(module, "__path__", ())


def _import_module(name: str) -> ModuleType:
    if not all(part.isidentifier() for part in name.split(".")):
        raise UsageError(f"{name!r} is no name of a Python module. Give package.module:callable")
    here = Path.cwd()
    with user_errors(f"importing {name}"):
        try:
            return import_named(name, here)
        except ModuleNotFoundError as error:
            if error.name is None or not (name == error.name or name.startswith(f"{error.name}.")):
                raise
            raise UsageError(
                f"there is no Python module {name!r}: looked in {here} and in what is installed. Give "
                "package.module:callable, or path/to/file.py:callable"
            ) from None


@contextmanager
def user_errors(doing: str) -> Iterator[None]:
    """Turns whatever a user's code raises into a `UsageError` with its file and line; `doing` begins the sentence."""
    try:
        yield
    except EdgekitError:
        raise
    except (Exception, SystemExit) as error:
        raise UsageError(f"{doing} failed. {describe(error)}") from None


def describe(error: BaseException) -> str:
    """What was raised and, where it is known, the innermost line of the user's own code it came through."""
    said = f"{type(error).__name__}: {' '.join(str(error).split())[:500]}"
    if isinstance(error, SyntaxError) and error.filename:
        return f"{said} (in {error.filename}, line {error.lineno})"
    place = user_line(error)
    return f"{said} ({place})" if place else said


def user_line(error: BaseException) -> str:
    """ "net.py, line 12, in forward: x = self.fc(x)", or "" when no frame of the traceback is the user's."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if _is_users(frame.filename)]
    if not frames:
        return ""
    last = frames[-1]
    source = linecache.getline(last.filename, last.lineno or 0).strip()
    return f"{last.filename}, line {last.lineno}, in {last.name}" + (f": {source}" if source else "")


def frame_line(frame: FrameType | None) -> str:
    """The innermost line of the user's own code that is running, as `user_line` gives it; "" where none is."""
    while frame is not None and not _is_users(frame.f_code.co_filename):
        frame = frame.f_back
    if frame is None:
        return ""
    file, line = frame.f_code.co_filename, frame.f_lineno
    source = linecache.getline(file, line).strip()
    return f"{file}, line {line}, in {frame.f_code.co_name}" + (f": {source}" if source else "")


def _is_users(filename: str) -> bool:
    if filename.startswith(("<", *OUR_FOLDERS)):
        return False
    parts = Path(filename).parts
    if "site-packages" in parts:
        place = parts.index("site-packages") + 1
        return place < len(parts) and parts[place].removesuffix(".py") not in _LIBRARIES
    return not filename.startswith(_STDLIB)


def is_library_file(filename: str) -> bool:
    """Whether code there is a library's or edgekit's own machinery; the registry's models, in train/, are neither."""
    return not (_is_users(filename) or filename.startswith(_MODELS))
