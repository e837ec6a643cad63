"""docs/OWN_MODEL.md word for word: the user's file, the pictures, the commands and the five lines of Python."""

import itertools
import re
import shlex
import sys

import numpy as np
import pytest
from conftest import ROOT

from edgekit.cli import main
from edgekit.edge_runtime.bundle.bundle import Bundle
from edgekit.optimize import Request

TEXT = (ROOT / "docs" / "OWN_MODEL.md").read_text()
MODEL, PREPARE, FIVE_LINES, *OTHERS, EVALUATE = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
*OTHERS, DETECTOR, BLOCKS = OTHERS
COMMANDS, *FURTHER = (text.splitlines() for text in re.findall(r"```sh\n(.*?)```", TEXT, re.DOTALL))
KINDS = {"my_reviews": "accuracy 100", "my_tagger": "accuracy 100", "my_prices": "mean absolute error 0.0"}


@pytest.fixture(scope="module")
def followed(tmp_path_factory):
    """A folder in which a reader did what the page says, and what its code left in memory."""
    folder, patch = tmp_path_factory.mktemp("own"), pytest.MonkeyPatch()
    patch.chdir(folder)
    patch.syspath_prepend(str(folder))
    (folder / "my_digits.py").write_text(MODEL)
    scope: dict = {}
    exec(compile(PREPARE, "OWN_MODEL.md", "exec"), scope)
    yield folder, scope
    patch.undo()


def run(command, monkeypatch):
    """The command as typed, in this process."""
    monkeypatch.setattr(sys, "argv", shlex.split(command))
    with pytest.raises(SystemExit) as ended:
        main()
    return ended.value.code


def test_the_commands_work_as_typed(followed, monkeypatch, capsys):
    assert [run(command, monkeypatch) for command in COMMANDS] == [0, 0, 0]
    said = capsys.readouterr().out
    assert "my_digits float: accuracy 9" in said
    assert re.search(r"7/44\.png: 7 [>\d.]+ %", said)
    manifest = Bundle.open(followed[0] / "bundles" / "my_digits-onnx-w8a8_static").manifest
    assert manifest.status in ("verified", "undecided")
    assert (manifest.metrics[0].samples, manifest.labels) == (450, tuple("0123456789"))
    assert manifest.metrics[0].value > 0.95
    assert (followed[0] / "runs" / "my_digits" / "report.html").exists()


@pytest.mark.slow
@pytest.mark.parametrize(("name", "place"), [(name, i) for i, name in enumerate(KINDS)])
def test_the_other_kinds_work_as_typed(name, place, tmp_path, monkeypatch, capsys):
    if name == "my_reviews":
        pytest.importorskip("transformers", reason="the Hugging Face classifier needs transformers")
    model, prepare = OTHERS[2 * place : 2 * place + 2]
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / f"{name}.py").write_text(model)
    exec(compile(prepare, "OWN_MODEL.md", "exec"), {})
    (command,) = FURTHER[place]
    assert command.split()[2].startswith(f"{name}.py:")
    assert run(command, monkeypatch) == 0
    said = capsys.readouterr().out
    assert KINDS[name] in said
    assert "lossless" in said
    assert "held_out.npz, travel with every bundle" in said
    monkeypatch.delitem(sys.modules, name)


@pytest.fixture
def detector(tmp_path, monkeypatch):
    """A folder with the page's detector and its pictures."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_detector.py").write_text(DETECTOR)
    exec(compile(BLOCKS, "OWN_MODEL.md", "exec"), {})
    return tmp_path


@pytest.mark.slow
def test_the_detector_works_as_typed(detector, monkeypatch, capsys):
    optimize, predict = FURTHER[len(KINDS)]
    assert run(optimize, monkeypatch) == 0
    said = capsys.readouterr().out
    assert "my_detector float: mean average precision 100 % on 600 validation samples" in said
    manifest = Bundle.open(detector / "bundles" / "my_detector-onnx-w8a8_static").manifest
    assert (manifest.status, manifest.labels) == ("verified", ("red", "green"))
    assert [metric.name for metric in manifest.metrics] == ["mean_average_precision", "average_precision_50"]
    assert run(predict, monkeypatch) == 0
    shown = re.findall(r"^    (blocks_held_out/0.png: .*)$", TEXT, re.MULTILINE)
    assert capsys.readouterr().out.splitlines() == shown


def test_the_detector_s_float_model_finds_every_block(detector):
    """The fast half: nothing is exported."""
    from edgekit.optimize.user_model.model import own_model
    from edgekit.optimize.user_model.sources import open_source
    from edgekit.optimize.verify import FloatReference

    words = shlex.split(FURTHER[len(KINDS)][0])
    asked = {key.removeprefix("--"): value for key, value in itertools.pairwise(words) if key.startswith("--")}
    names = ("task", "calibration", "validation", "images")
    request = Request(
        model=words[2], sample_shape=asked["sample-shape"], no_normalise=True, **{n: asked[n] for n in names}
    )
    own = own_model(open_source(words[2]), request)
    assert (own.model.task, own.model.labels) == ("detection", ("red", "green"))
    assert FloatReference.of(own.model).metric.value == 1.0


@pytest.mark.slow
def test_five_lines_of_python_do_the_same(followed, capsys):
    scope = followed[1]
    exec(compile(FIVE_LINES, "OWN_MODEL.md", "exec"), scope)
    assert "digits-onnx-w8a8_static verified 0.9" in capsys.readouterr().out
    assert scope["result"].rows[1].model_bytes < scope["result"].rows[0].model_bytes


def test_the_measure_of_ones_own_is_one(followed):
    scope = followed[1]
    exec(compile(EVALUATE, "OWN_MODEL.md", "exec"), scope)
    right = np.eye(10)[scope["truth"][scope["held_out"]]]
    assert scope["share_right"](lambda arrays: {"probabilities": right}).mean() == 1.0
