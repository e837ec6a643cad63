"""Help and completion: every name is whole on any terminal, and the lists are those of the parts that they name."""

import os
import subprocess
import sys

import pytest
from conftest import ENVIRONMENT, ROOT

from edgekit.cli import names
from edgekit.edge_runtime.devices.registry import DEVICES
from edgekit.edge_runtime.engines import ENGINES
from edgekit.edge_runtime.tasks.registry import TASKS
from edgekit.optimize.exporters import EXPORTERS
from edgekit.optimize.recipes import RECIPES
from edgekit.train.registry import BOOK_MODELS

EVERY_HELP = """
from edgekit.cli import app
import typer
group = typer.main.get_command(app)
def show(command, words):
    print("=====", *words)
    try:
        group([*words, "--help"], standalone_mode=False)
    except SystemExit:
        pass
    for name, one in getattr(command, "commands", {}).items():
        show(one, [*words, name])
show(group, [])
"""


def run(code, *arguments, **environment):
    around = ENVIRONMENT | {"PYTHONPATH": str(ROOT)} | environment
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, cwd=ROOT, env=around, capture_output=True, text=True, encoding="utf-8", timeout=60)


def completed(*words):
    """What bash is told when Tab is pressed behind these words."""
    code = "import sys; sys.argv[0] = 'edgekit'; from edgekit.__main__ import main; main()"
    typed = {"COMP_WORDS": " ".join(("edgekit", *words)), "COMP_CWORD": str(len(words))}
    return run(code, **typed, _EDGEKIT_COMPLETE="complete_bash").stdout.split()


def test_the_lists_of_help_are_the_recipes_and_exporters_themselves():
    assert {recipe.name: recipe.summary for recipe in RECIPES.values()} == names.RECIPES
    assert {exporter.name: exporter.summary for exporter in EXPORTERS.values()} == names.EXPORTERS
    assert {device.name: device.description for device in DEVICES.values()} == names.DEVICES
    assert names.models() == sorted(BOOK_MODELS)
    assert set(names.TASKS) == set(TASKS) - {"next_character"}  # which needs an alphabet of its own
    assert set(names.ENGINES) == {engine for engines in ENGINES.values() for engine in engines} | {"auto", "all"}


@pytest.mark.parametrize("columns", ["40", "80", "120"])
def test_no_help_cuts_a_name(columns):
    text = run(EVERY_HELP, COLUMNS=columns, LINES="40").stdout
    assert text.count("=====") == 25
    assert "\N{HORIZONTAL ELLIPSIS}" not in text.replace("1,2,4,\N{HORIZONTAL ELLIPSIS}", "")
    for name in (*names.RECIPES, *names.EXPORTERS, "--calibration-samples", "--allow-unverified", "--max-slower-start"):
        assert name in text
    if columns == "40":
        assert max(len(line) for line in text.splitlines()) <= 52  # an option of two names and what it takes


def test_tab_completes_verbs_models_recipes_and_formats():
    assert completed("ver") == ["verify"]
    assert "birds_cnn_dropout" in completed("train", "birds_cnn_")
    assert completed("optimize", "digits_cnn", "--recipe", "w4") == ["w4_only", "w4_dynamic"]
    assert completed("optimize", "--exporter", "executorch_x") == ["executorch_xnnpack"]
    assert completed("verify", "--allow", "torchs") == ["torchscript"]
    assert completed("verify", "--engine", "open") == ["openvino"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_for_a_shell_calls_the_command(shell):
    code = "import sys; sys.argv[0] = 'edgekit'; from edgekit.__main__ import main; main()"
    # Otherwise typer looks for a shell among the parents of this process, and there may be none.
    named = {"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    done = run(code, "--show-completion", shell, PATH=os.environ["PATH"], **named)
    assert "_EDGEKIT_COMPLETE" in done.stdout
