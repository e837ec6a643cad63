"""What somebody may have meant who typed a model that is none: a file of weights, a Python file, a library's name.

Only looks at names, and at the text of a Python file; it imports and loads nothing of the user's.
"""

from __future__ import annotations

import ast
import importlib.util
from difflib import get_close_matches
from pathlib import Path

from edgekit.edge_runtime.command_line import EDGEKIT, command_line
from edgekit.edge_runtime.errors import UsageError
from edgekit.train.registry import BOOK_MODELS

ACCEPTED = (
    f"a name that `{EDGEKIT} models` lists; package.module:callable or path/to/file.py:callable, where the callable "
    "gives an nn.Module; torchvision:NAME, like torchvision:mobilenet_v2; timm:NAME, like timm:resnet18.a1_in1k; a "
    "TorchScript file or a program of torch.export (.pt2)"
)
_WEIGHTS = (".pt", ".pth", ".ckpt", ".safetensors", ".bin", ".th", ".state", ".pkl")
_EXPORTED = (".onnx", ".pte", ".tflite", ".mlpackage", ".mlmodel", ".h5", ".keras", ".pb")


def guess(what: str) -> UsageError:
    """The error for a model that is none of the accepted kinds, with what was likely meant."""
    path = Path(what)
    if path.suffix in _WEIGHTS and (path.exists() or "/" in what):
        there = "a weights file" if path.exists() else "the name of a weights file, which is not there"
        return UsageError(
            f"{what} is {there}: give the model that it is for, then --weights. Like "
            + command_line("optimize", "my_net.py:build", "--weights", what)
        )
    if path.suffix == ".py":
        return _python_file(path, what)
    if path.suffix in _EXPORTED:
        return UsageError(
            f"{what} is exported already; edgekit takes the PyTorch model that it was made of: file.py:callable"
        )
    if path.is_dir():
        return _folder(path, what)
    if names := _in_libraries(what):
        return UsageError(f"unknown model {what!r}. {' or '.join(names)}? Say which")
    if _is_module(what):
        return UsageError(
            f"{what} is a Python module: say which of its names gives the model, like "
            + command_line("optimize", f"{what}:build")
        )
    close = get_close_matches(what, BOOK_MODELS, n=3, cutoff=0.5)
    meant = f" Did you mean {' or '.join(close)}?" if close else ""
    return UsageError(f"unknown model {what!r}.{meant} Known: {', '.join(sorted(BOOK_MODELS))}. Accepted: {ACCEPTED}")


def _python_file(path: Path, what: str) -> UsageError:
    if not path.is_file():
        return UsageError(f"there is no file {what}. Give the path of your Python file, a colon and a name in it")
    names = model_names(path)
    if len(names) == 1:
        return UsageError(
            f"{what}: say which of its names gives the model. " + command_line("optimize", f"{what}:{names[0]}") + "?"
        )
    if not names:
        return UsageError(
            f"{what} has no class or function at its top level that could give a model. Add one without arguments that "
            f"returns the nn.Module, like build, and run " + command_line("optimize", f"{what}:build")
        )
    return UsageError(
        f"{what}: which of its names gives the model: {', '.join(names)}? Like "
        + command_line("optimize", f"{what}:{names[0]}")
    )


def model_names(path: Path) -> list[str]:
    """Top-level names of a Python file that may give a model: functions and classes that need no arguments."""
    try:
        body = ast.parse(path.read_bytes()).body
    except (SyntaxError, ValueError, OSError):  # its import says what is wrong
        return []
    functions, classes, values = [], [], []
    for node in body:
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            if _callable_bare(node.args, skipped=0):
                functions.append(node.name)
        elif isinstance(node, ast.ClassDef) and any("Module" in ast.unparse(base) for base in node.bases):
            made = next((n for n in node.body if isinstance(n, ast.FunctionDef) and n.name == "__init__"), None)
            if made is None or _callable_bare(made.args, skipped=1):
                classes.append(node.name)
        elif isinstance(node, ast.Assign) and isinstance(node.value, ast.Call):
            values += [t.id for t in node.targets if isinstance(t, ast.Name) and t.id in ("net", "model", "module")]
    return [*functions, *classes, *values]


def _callable_bare(arguments: ast.arguments, *, skipped: int) -> bool:
    needed = len(arguments.posonlyargs) + len(arguments.args) - skipped - len(arguments.defaults)
    return needed <= 0 and all(default is not None for default in arguments.kw_defaults)


def _folder(path: Path, what: str) -> UsageError:
    if (path / "manifest.json").is_file():
        return UsageError(
            f"{what} is a finished bundle. {command_line('verify', what)} proves it; give the PyTorch model here"
        )
    if (path / "config.json").is_file():
        return UsageError(
            f"{what} looks like a Hugging Face model. Give a function that loads it, in a file of yours: "
            "def build(): return AutoModelForImageClassification.from_pretrained(…). Then: "
            + command_line("optimize", "f.py:build")
        )
    return UsageError(f"{what} is a folder. Give a model: {ACCEPTED}")


def _in_libraries(what: str) -> list[str]:
    """The name as one of torchvision's and timm's models, where they are installed."""
    found = []
    if importlib.util.find_spec("torchvision"):
        import torchvision.models as models

        if what in models.list_models():
            found.append(f"torchvision:{what}")
    if importlib.util.find_spec("timm"):
        import timm

        if timm.is_model(what):
            found.append(f"timm:{what}")
    return found


def _is_module(what: str) -> bool:
    if not all(part.isidentifier() for part in what.split(".")):
        return False
    try:
        return importlib.util.find_spec(what) is not None or Path(*what.split(".")).with_suffix(".py").is_file()
    except (ImportError, ValueError):
        return False
