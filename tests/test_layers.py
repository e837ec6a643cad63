"""Who may import whom, read from the imports themselves; and a fresh interpreter that proves what stays unloaded."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
MAY_IMPORT = {
    "edge_runtime": {"edge_runtime"},
    "train": {"train", "edge_runtime"},
    "optimize": {"optimize", "train", "edge_runtime"},
    "demo_app": {"demo_app", "edge_runtime"},
}
# What a device does not have. Engines may need it; each is imported only when a bundle asks for it.
NOT_ON_A_DEVICE = {"torch", "torchvision", "lightning", "executorch", "torchao", "onnx", "onnxscript", "sklearn"}


def imported(path: Path) -> set[str]:
    """Top-level names of the absolute imports of a file, function bodies included."""
    tree = ast.parse(path.read_text())
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.level == 0}
    return {name.split(".")[0] for name in names}


def files(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


@pytest.mark.parametrize("folder", MAY_IMPORT)
def test_a_folder_imports_only_the_folders_below_it(folder):
    ours = set(MAY_IMPORT)
    wrong = {(path.name, name) for path in files(folder) for name in imported(path) & ours - MAY_IMPORT[folder]}
    assert wrong == set()


def test_the_device_side_imports_no_training_library():
    paths = [path for path in files("edge_runtime") + files("demo_app") if path.parent.name != "engines"]
    assert {(path.name, name) for path in paths for name in imported(path) & NOT_ON_A_DEVICE} == set()


def test_edge_runtime_alone_loads_numpy_and_nothing_heavier():
    code = "import edgekit.edge_runtime, sys; print(*{name.split('.')[0] for name in sys.modules})"
    loaded = set(subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True).stdout.split())
    heavy = NOT_ON_A_DEVICE | {"onnxruntime", "PIL", "rich", "typer", "streamlit"}
    assert "numpy" in loaded
    assert loaded & heavy == set()


def test_the_command_imports_no_folder_before_a_verb_needs_it():
    code = "import edgekit, sys; print(*{name.split('.')[0] for name in sys.modules})"
    loaded = set(subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True).stdout.split())
    assert loaded & {"train", "optimize", "demo_app", "torch", "onnxruntime"} == set()


@pytest.mark.parametrize("folder", [*MAY_IMPORT, "edgekit", "tests"])
def test_files_are_short_enough_to_read_in_one_sitting(folder):
    assert {path.name: n for path in files(folder) if (n := len(path.read_text().splitlines())) > 300} == {}
