"""Who may import whom, read from the imports themselves; and a fresh interpreter that proves what stays unloaded."""

import ast
import graphlib
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

PARTS = ("edge_runtime", "train", "optimize", "demo_app")
MAY_IMPORT = {
    "edge_runtime": {"edge_runtime"},
    "train": {"train", "edge_runtime"},
    "optimize": {"optimize", "train", "edge_runtime"},
    "demo_app": {"demo_app", "edge_runtime"},
    "edgekit": {"edgekit", *PARTS},
    "experiments": {"experiments", "edgekit", *PARTS},
}
# What a device does not have. Engines may need it; each is imported only when a bundle asks for it.
NOT_ON_A_DEVICE = {"torch", "torchvision", "lightning", "executorch", "torchao", "onnx", "onnxscript", "sklearn"}
LONG = 350  # lines that can be read in one sitting
# Longer files, each with the reason why it is better whole.
LONG_FILES: dict[str, str] = {
    "optimize/deliver.py": "one way from a model to its measured bundles, step after step",
    "tests/edge_runtime/test_manifest.py": "one list of everything that a manifest may not say",
}


def module_name(path: Path) -> str:
    """`edge_runtime.bundle.manifest`: dotted, as the folders of the repository name it."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {module_name(path): path for part in MAY_IMPORT for path in sorted((ROOT / part).rglob("*.py"))}


def imports(name: str) -> set[str]:
    """Every module or name that a file imports, made absolute, function bodies included."""
    path, found = FILES[name], set()
    package = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*start, *([node.module] if node.module else [])])
            found |= {f"{base}.{alias.name}" for alias in node.names}
    return found


def plain(name: str) -> str:
    return name.removeprefix("edgekit.") if name.startswith(tuple(f"edgekit.{part}" for part in PARTS)) else name


def known(name: str) -> str:
    """The file that an imported name leads to; empty where that is not ours."""
    while name and name not in FILES:
        name = name.rpartition(".")[0]
    return name


EDGES = {name: {known(plain(target)) for target in imports(name)} - {"", name} for name in FILES}


def circle(edges: dict[str, set[str]]) -> list[str]:
    """One circle of a graph; empty where there is none."""
    try:
        graphlib.TopologicalSorter(edges).prepare()
    except graphlib.CycleError as error:
        return error.args[1]
    return []


def in_folders(edges: dict[str, set[str]]) -> dict[str, set[str]]:
    """The same imports between folders; one inside another is no arrow."""
    folder = {name: name if FILES[name].name == "__init__.py" else name.rpartition(".")[0] for name in FILES}
    found: dict[str, set[str]] = {}
    for name, targets in edges.items():
        for one in {folder[target] for target in targets}:
            here = folder[name]
            if "edgekit" in (here, one):  # the package that all parts lie in
                continue
            if not f"{here}.".startswith(f"{one}.") and not f"{one}.".startswith(f"{here}."):
                found.setdefault(here, set()).add(one)
    return found


@pytest.mark.parametrize("part", MAY_IMPORT)
def test_a_part_imports_only_the_parts_below_it(part):
    wrong = {
        (name, target)
        for name, targets in EDGES.items()
        if name.split(".")[0] == part
        for target in targets
        if target.split(".")[0] not in MAY_IMPORT[part] | {"edgekit"}
    }
    assert wrong == set()


def test_nobody_imports_the_command_but_the_programs_that_are_one():
    users = {name for name, targets in EDGES.items() for one in targets if one.startswith("edgekit.cli")}
    outside = {n for n in users if not n.startswith(("edgekit.cli", "experiments")) and not n.endswith("__main__")}
    assert outside == set()


def test_no_file_imports_a_part_by_its_bare_name():
    bare = {(name, target) for name in FILES for target in imports(name) if target.split(".")[0] in PARTS}
    # A relative import was made absolute by us, from the folder's own name: those are no bare ones.
    written = {(n, t) for n, t in bare if f"from {t.rpartition('.')[0]} import" in FILES[n].read_text()}
    assert written == set()


@pytest.mark.parametrize("starts", ["sys.executable", "ProcessPoolExecutor(", "get_context("])
def test_python_children_are_started_in_one_place(starts):
    product = {name: path for name, path in FILES.items() if not name.startswith("experiments")}
    assert {name for name, path in product.items() if starts in path.read_text()} == {"edge_runtime.python_child"}


@pytest.mark.parametrize("makes", ["TemporaryDirectory(", "mkdtemp(", "mkstemp(", "NamedTemporaryFile("])
def test_temporary_files_are_made_where_a_killed_run_s_are_found(makes):
    product = {name: path for name, path in FILES.items() if not name.startswith("experiments")}
    makers = {name for name, path in product.items() if makes in path.read_text()}
    assert makers <= {"edge_runtime.files", "edge_runtime.temporary"}


def test_no_imports_run_in_circles_between_files():
    assert circle(EDGES) == []


def test_no_imports_run_in_circles_between_folders():
    assert circle(in_folders(EDGES)) == []


def test_a_circle_would_be_found():
    assert set(circle({"a": {"b"}, "b": {"c"}, "c": {"a"}})) == {"a", "b", "c"}
    assert circle({"a": {"b", "c"}, "b": {"c"}}) == []


def test_the_device_side_imports_no_training_library():
    device = [n for n in FILES if n.startswith(("edge_runtime", "demo_app"))]
    # Engines run what torch made, and the profiler of such an engine is another half of it.
    allowed = ("edge_runtime.engines.", "edge_runtime.profiling.", "edge_runtime.doctor.probe")
    wrong = {(n, t) for n in device if not n.startswith(allowed) for t in imports(n)}
    assert {(n, t) for n, t in wrong if t.split(".")[0] in NOT_ON_A_DEVICE} == set()


def loaded_by(code: str) -> set[str]:
    command = [sys.executable, "-c", f"{code}; import sys; print(*sys.modules)"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_edge_runtime_alone_loads_numpy_and_nothing_heavier():
    loaded = {name.split(".")[0] for name in loaded_by("from edgekit.edge_runtime import Bundle, load_engine")}
    heavy = NOT_ON_A_DEVICE | {"onnxruntime", "openvino", "PIL", "psutil", "rich", "typer", "streamlit"}
    assert "numpy" in loaded
    assert loaded & heavy == set()


def test_the_name_edgekit_alone_loads_nothing():
    assert {name for name in loaded_by("import edgekit") if name.startswith(("edgekit.", "numpy"))} == set()


def test_the_command_imports_no_part_before_a_verb_needs_it():
    loaded = loaded_by("from edgekit.cli import app")
    assert {f"edgekit.{part}" for part in ("train", "optimize", "demo_app")} & loaded == set()
    assert loaded & {"torch", "onnxruntime", "numpy"} == set()


@pytest.mark.parametrize("part", [*MAY_IMPORT, "tests"])
def test_a_file_that_is_long_says_why(part):
    paths = {path.relative_to(ROOT).as_posix(): path for path in (ROOT / part).rglob("*.py")}
    long = {name for name, path in paths.items() if len(path.read_text().splitlines()) > LONG}
    assert long - LONG_FILES.keys() == set()
