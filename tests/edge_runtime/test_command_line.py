"""Which command messages name: the one that works where they are read, its words quoted for a shell."""

import ast
import re
import shutil
import subprocess
import sys

import pytest
from conftest import ENVIRONMENT, ROOT

from edgekit.cli import app
from edgekit.edge_runtime.command_line import EDGEKIT, command_line, install

VERBS = (
    "|".join(group.name for group in app.registered_groups)
    + "|"
    + "|".join(command.name or command.callback.__name__ for command in app.registered_commands)
)
TYPED = re.compile(rf"(?<![\w'.]){'edgekit'} ({VERBS})\b")
# A page of the documentation, which is read elsewhere, and the titles of two pages.
NOT_TYPED = {"train/reproduction/page_text.py", "optimize/report/page.py", "train/nodules/report.py", "demo_app/app.py"}


def called(folder, **environment):
    """What a process calls the command that has `folder` first on its path."""
    around = {k: v for k, v in ENVIRONMENT.items() if not k.startswith("UV_")} | {"PATH": str(folder)} | environment
    code = "from edgekit.edge_runtime.command_line import EDGEKIT; print(EDGEKIT)"
    command = [sys.executable, "-c", code]
    return subprocess.run(command, cwd=ROOT, env=around, capture_output=True, text=True, check=True).stdout.strip()


def test_a_checkout_says_uv_run_and_an_installed_command_its_name(tmp_path):
    assert called(tmp_path) == "uv run edgekit"
    program = tmp_path / "edgekit"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    assert called(tmp_path) == "edgekit"
    assert called(tmp_path, UV_RUN_RECURSION_DEPTH="1") == "uv run edgekit"


def test_a_checkout_installs_from_itself_and_others_from_the_registry(tmp_path):
    assert install("onnx") in ("uv pip install -e '.[onnx]'", "pip install -e '.[onnx]'")
    assert install("onnx", again=True).count("reinstall") == 1
    copy = shutil.copy(ROOT / "edge_runtime" / "command_line.py", tmp_path)
    code = f"import runpy; print(runpy.run_path({str(copy)!r})['install']('onnx'))"
    around = {k: v for k, v in ENVIRONMENT.items() if not k.startswith("UV_")}
    done = subprocess.run([sys.executable, "-c", code], env=around, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "pip install 'edgekit[onnx]'"


def test_a_path_with_a_space_is_one_word():
    assert (
        command_line("verify", "my bundles/a b", "--key", "k.pem") == f"{EDGEKIT} verify 'my bundles/a b' --key k.pem"
    )


@pytest.mark.parametrize("part", ["edge_runtime", "train", "optimize", "demo_app", "edgekit"])
def test_no_message_names_the_command_in_another_way(part):
    written = []
    for path in sorted((ROOT / part).rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        told = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        texts = (n for n in ast.walk(tree) if isinstance(n, ast.Constant) and isinstance(n.value, str))
        name = path.relative_to(ROOT).as_posix()
        if name not in NOT_TYPED:
            written += [f"{name}:{n.lineno}" for n in texts if id(n) not in told and TYPED.search(n.value)]
    assert written == []
