"""The documentation held to the code: tables are what `results/` says, commands run, what is named exists."""

import re
import shlex
import shutil

import pytest
from conftest import ROOT

from edgekit.edge_runtime.bundle.bundle import Bundle
from edgekit.edge_runtime.preprocess.image import array_to_image
from experiments.docs import DOCUMENTS, render

README = (ROOT / "README.md").read_text()
COMMANDS = [
    line.removeprefix("uv run ")
    for block in re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
    for line in block.splitlines()
]
# Run elsewhere: the quickstart by the fixture, the demo in a browser, the tests are this; the rest takes data and time.
ELSEWHERE = ("edgekit quickstart", "pytest", "edgekit demo", "pip install", "edgekit train", "edgekit optimize")


@pytest.mark.parametrize("name", DOCUMENTS)
def test_tables_are_the_measured_ones(name):
    text = (ROOT / name).read_text()
    assert render(text) == text, "run: python -m experiments.docs"


@pytest.mark.parametrize("command", [c for c in COMMANDS if not c.startswith(ELSEWHERE)])
def test_a_command_of_the_readme_works_as_typed(edgekit, quickstart, tmp_path, command):
    (tmp_path / "bundles").symlink_to(quickstart.bundles)
    golden = Bundle.open(quickstart.bundle("onnx-fp32")).golden()
    array_to_image(golden.inputs["image"][0]).save(tmp_path / "digit.png")
    program, *arguments = shlex.split(command)
    assert program == "edgekit"
    done = edgekit(*arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_readme_shows_the_two_commands():
    assert COMMANDS[:2] == ["edgekit quickstart", "pytest"]


def test_every_verb_is_in_the_readme(edgekit):
    verbs = re.findall(r"^│ (\w+) ", edgekit("--help").stdout, re.MULTILINE)
    assert len(verbs) >= 11
    assert [verb for verb in verbs if f"`edgekit {verb}" not in README] == []


def test_python_of_the_readme_runs(quickstart, tmp_path, monkeypatch, capsys):
    """The device's example, word for word, on the quickstart's bundle."""
    code = next(c for c in re.findall(r"```python\n(.*?)```", README, re.DOTALL) if "load_engine" in c)
    (tmp_path / "bundles").symlink_to(quickstart.bundles)
    golden = Bundle.open(quickstart.bundle("onnx-fp32")).golden()
    array_to_image(golden.inputs["image"][0]).save(tmp_path / "digit.png")
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "README.md", "exec"), {})
    assert len(re.findall(r"\d\.\d+(?:e[+-]\d+)?", capsys.readouterr().out)) == 10


def test_files_that_are_named_exist():
    named = re.findall(r"`((?:train|optimize|edge_runtime|demo_app|results)/[\w./]+\.\w+)`", README)
    mine = ("train/models/my_net.py", "train/data/my_data.py")
    assert [name for name in named if name not in mine and not (ROOT / name).exists()] == []
    assert shutil.which("uv") is None or "uv.lock" in (ROOT / ".gitignore").read_text()
