"""A user's own Python: imported by name or from a file, and its errors told as the user's, with file and line.

Nothing here knows models. What a frame of a traceback belongs to is decided by where its file lies.
"""

from __future__ import annotations

import importlib
import importlib.util
import linecache
import sys
import sysconfig
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import edgekit
from edgekit.edge_runtime.errors import EdgekitError, MissingData, UsageError

_OURS = Path(edgekit.__file__).resolve().parent
# In a source checkout the parts lie beside the package, not in it.
_PARTS = ("edge_runtime", "train", "optimize", "demo_app")
_OUR_FOLDERS = (str(_OURS), *(str(Path(place) / part) for place in edgekit.__path__ for part in _PARTS))
_MODELS = tuple(str(Path(place) / "train") for place in edgekit.__path__)
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
    """Imports a file under its own stem, with its folder on the path as for a script; again gives the same module."""
    path = path.resolve()
    if not path.is_file():
        raise MissingData(f"there is no file {path}. Give the path of your Python file, then a colon and a name in it")
    known = sys.modules.get(path.stem)
    if known is not None and getattr(known, "__file__", None) == str(path):
        return known
    if known is not None or path.stem in sys.stdlib_module_names:
        raise UsageError(f"{path.name} has the name of another module that is in use. Rename the file")
    if str(path.parent) not in sys.path:
        sys.path.insert(0, str(path.parent))
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


def _import_module(name: str) -> ModuleType:
    if not all(part.isidentifier() for part in name.split(".")):
        raise UsageError(f"{name!r} is no name of a Python module. Give package.module:callable")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    with user_errors(f"importing {name}"):
        try:
            return importlib.import_module(name)
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


def _is_users(filename: str) -> bool:
    if filename.startswith("<") or filename.startswith(_OUR_FOLDERS):
        return False
    parts = Path(filename).parts
    if "site-packages" in parts:
        place = parts.index("site-packages") + 1
        return place < len(parts) and parts[place].removesuffix(".py") not in _LIBRARIES
    return not filename.startswith(_STDLIB)


def is_library_file(filename: str) -> bool:
    """Whether code there is a library's or edgekit's own machinery; the registry's models, in train/, are neither."""
    return not (_is_users(filename) or filename.startswith(_MODELS))
