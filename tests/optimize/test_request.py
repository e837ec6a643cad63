"""`Request`: the command, Python and a file fill the same record, and a run is repeated from what it keeps."""

import ast
import inspect
import json
from dataclasses import fields

import numpy as np
import pytest
import typer
from own_net import Net
from PIL import Image

from edgekit.cli import app
from edgekit.cli.optimize import request_of
from edgekit.cli.verbs.optimizing import OWN
from edgekit.edge_runtime.benchmark import measurement
from edgekit.edge_runtime.bundle.bundle import Bundle
from edgekit.edge_runtime.command_line import EDGEKIT
from edgekit.edge_runtime.errors import UsageError
from edgekit.optimize import Request, read_request
from edgekit.optimize.user_model import request as module

FROM_PYTHON = {"targets", "evaluate"}
OF_THE_COMMAND = {"file", "as_json"}


def options():
    """The command's options by the name of the field: default and typer's declaration."""
    command = typer.main.get_command(app).commands["optimize"]
    return {option.name: option for option in command.params if option.name not in OF_THE_COMMAND}


def explanations():
    """The first paragraph under each field of the record."""
    (record,) = [n for n in ast.parse(inspect.getsource(module)).body if getattr(n, "name", "") == "Request"]
    after = zip(record.body, record.body[1:], strict=False)
    said = {a.target.id: b.value.value for a, b in after if isinstance(a, ast.AnnAssign) and isinstance(b, ast.Expr)}
    return {name: " ".join(inspect.cleandoc(text).split("\n\n")[0].split()) for name, text in said.items()}


def test_every_field_is_explained_and_every_option_is_a_field():
    names = {field.name for field in fields(Request)}
    assert explanations().keys() == names
    assert options().keys() == names - FROM_PYTHON


@pytest.mark.parametrize("name", [field.name for field in fields(Request) if field.name not in FROM_PYTHON])
def test_an_option_says_what_its_field_says(name):
    (field,) = [one for one in fields(Request) if one.name == name]
    option = options()[name]
    assert option.help.replace(", listed above", "") == explanations()[name]
    if name != "model":
        assert option.default == (None if field.default == () else field.default)
        assert (option.rich_help_panel == OWN) == (name in module.USER_MODEL)


def test_what_is_typed_and_what_python_gives_are_the_same_request(tmp_path):
    (tmp_path / "labels.txt").write_text("cat\ndog\n")
    typed = request_of(
        {"model": "a.py:b", "sample_shape": ["1,3,8,8"], "mean": "0.5,0.4,0.3", "time_budget_s": "2m"}
        | {"labels": tmp_path / "labels.txt", "recipes": ["fp32"]}
    )
    assert typed == Request(
        model="a.py:b",
        sample_shape=(1, 3, 8, 8),
        mean=[0.5, 0.4, 0.3],
        time_budget_s=120,
        labels=["cat", "dog"],
        recipes=("fp32",),
    )


def test_a_request_goes_through_a_file_and_what_is_typed_goes_before(tmp_path):
    asked = Request(model="a.py:b", calibration="pictures", sample_shape=["x=1,4:int64", "1,2"], std=(1,), quick=True)
    path = tmp_path / "request.json"
    path.write_text(json.dumps(asked.to_plain()))
    assert request_of({}, path) == asked
    changed = request_of({"max_drop": 0.5, "std": "2"}, path)
    assert (changed.max_drop, changed.std, changed.calibration) == (0.5, (2.0,), asked.calibration)


def test_what_lies_in_memory_is_in_no_file():
    assert Request(model="a.py:b").to_plain() == {"model": "a.py:b"}
    for memory in ({"model": Net()}, {"validation": np.zeros((2, 3))}, {"targets": np.zeros(2)}, {"evaluate": len}):
        assert Request(**({"model": "a.py:b"} | memory)).to_plain() == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"model": "m", "recipe": ["fp32"]}', "unknown option 'recipe'. Known: again, "),
        ('{"model": "m", "max_drop": "much"}', "max_drop should be a number, found 'much'"),
        ('{"model": "m", "recipes": "fp32"}', "recipes should be a list, found 'fp32'"),
        ('{"rows": [], "model": "m"}', "keeps no request"),
        ("[1]", "should hold an object of options, found list"),
        ("{", "not valid JSON"),
    ],
)
def test_a_file_that_is_no_request_is_told(text, message, tmp_path):
    (tmp_path / "file.json").write_text(text)
    with pytest.raises(UsageError, match=message):
        read_request(tmp_path / "file.json")


def test_without_a_model_and_with_numbers_that_are_none_it_says_what_to_type(tmp_path):
    with pytest.raises(UsageError, match=f"say which model: {EDGEKIT} optimize WHAT, or --from FILE"):
        request_of({})
    with pytest.raises(UsageError, match="--mean 'half' should be numbers with commas"):
        request_of({"model": "x:y", "mean": "half"})


MODEL = """
import torch
from torch import nn

def build():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 6 * 6, 2))
"""


@pytest.mark.slow
def test_a_run_is_repeated_from_its_results_and_makes_the_same_bundles(edgekit, tmp_path):
    (tmp_path / "striped.py").write_text(MODEL)
    for i in range(24):
        pixels = np.random.default_rng(i).integers(0, 256, (8, 8, 3), np.uint8)
        place = tmp_path / ("held_out/a" if i % 4 == 0 else "held_out/b" if i % 4 == 1 else "pictures")
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(place / f"{i}.png")
    asked = ["striped.py:build", "--sample-shape", "1,3,8,8", "--calibration", "pictures", "--validation", "held_out"]
    ways = ["--exporter", "onnx", "--recipe", "w8a8_static", "--allow-unverified", "--quick"]
    first = edgekit("optimize", *asked, *ways, "--mean", "0.5,0.5,0.5", cwd=tmp_path)
    assert first.returncode == 0, first.stdout + first.stderr
    kept = tmp_path / "runs" / "striped" / "results.json"
    assert measurement.load(kept).request == {
        "model": "striped.py:build",
        "sample_shape": ["1,3,8,8"],
        "calibration": "pictures",
        "validation": "held_out",
        "exporters": ["onnx"],
        "recipes": ["w8a8_static"],
        "allow_unverified": True,
        "quick": True,
        "mean": [0.5, 0.5, 0.5],
    }
    again = edgekit("optimize", "--from", kept, "--out", "others", "--again", cwd=tmp_path)
    assert again.returncode == 0, again.stdout + again.stderr
    [one], [other] = (list((tmp_path / out).iterdir()) for out in ("bundles", "others"))
    before, after = (Bundle.open(path).manifest for path in (one, other))
    assert (before.name, before.artifact, before.golden) == (after.name, after.artifact, after.golden)
    assert before.metrics == after.metrics
    old = {name: value for name, value in json.loads(kept.read_text()).items() if name != "request"}
    kept.write_text(json.dumps(old))  # as files were before they kept it
    assert measurement.load(kept).request is None
    with pytest.raises(UsageError, match="keeps no request: an older edgekit"):
        read_request(kept)
