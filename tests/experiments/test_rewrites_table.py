"""The table of rewrites: two rows a file, ratios beside the second, a reason where there is no file."""

import json

import pytest

from experiments.rewrites.benchmark import main, used_side
from experiments.rewrites.table import rewrites_table

MEASURED = {
    "p50_ms": 2.0, "model_bytes": 1000, "sqnr_db": 30.0, "delegated_operators": "5 of 6", "outside_delegate": "x x1",
    "invalid_because": [], "error": "", "exporter": "onnx", "recipe": "w8a8_static",
}  # fmt: skip


@pytest.fixture
def table(tmp_path):
    ratio = {"ratio": 2.0, "low": 1.9, "high": 2.1}
    rows = [
        {"exporter": "onnx", "recipe": "w8a8_static", "side": "before", "used": False, "error": "no kernel | here"},
        MEASURED | {"side": "after", "used": True, "times_faster": ratio, "invalid_because": ["measured too shortly"]},
    ]
    machine = {"cpu": "a processor", "cores": "2"}
    found = {"models": {"net": rows}, "settings": {"threads": 1}, "machine": machine}
    (tmp_path / "rewrites.json").write_text(json.dumps(found))
    return rewrites_table(tmp_path / "rewrites.json").splitlines()


def test_every_line_has_every_column(table):
    assert [line.replace("\\|", "").count("|") for line in table[:4]] == [11] * 4
    assert table[2].startswith("| net | onnx-w8a8_static | no | no kernel \\| here |")
    assert table[3].startswith(
        "| net | **onnx-w8a8_static** | yes | 2 ms | 2.00× faster [1.90, 2.10] | 1 kB | 30.0 dB |"
    )
    assert table[-1] == "- net, onnx-w8a8_static: not valid: measured too shortly"


@pytest.mark.parametrize(
    ("exporter", "recipe", "applied", "side"),
    [
        ("onnx", "fp32", "volumes: conv3d x8", "before"),
        ("onnx", "w8a8_static", "volumes: conv3d x8", "after"),
        ("onnx", "w8a8_static", "norms: instance_norm x2", "before"),
        ("executorch_xnnpack", "fp32", "norms: instance_norm x2", "after"),
    ],
)
def test_what_edgekit_makes_by_itself(exporter, recipe, applied, side):
    assert used_side(exporter, recipe, applied) == side


def test_an_unknown_model_is_refused_with_those_there_are(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["rewrite_benchmark", "luna"])
    assert main() == 2
    assert (
        "error: unknown model 'luna'. Known: cyclegan_small, lstm_step, luna_classifier, luna_unet"
        in capsys.readouterr().err
    )
