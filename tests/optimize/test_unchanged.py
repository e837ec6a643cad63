"""What has not changed is not made again; anything that it follows from, changed, makes it anew."""

from dataclasses import replace

import numpy as np
import pytest
from drowned import drowned_model

from edgekit.cli.optimize import deliver, finish, seconds_of
from edgekit.edge_runtime.benchmark import measurement
from edgekit.edge_runtime.benchmark.benchmark_result import QUICK, Settings
from edgekit.optimize.cache import causes
from edgekit.optimize.exporters import EXPORTERS
from edgekit.optimize.measured_before import measured_before
from edgekit.optimize.options import Options
from edgekit.optimize.recipes import RECIPES
from edgekit.optimize.verify import FloatReference

ONNX = EXPORTERS["onnx"]
PAIRS = [(ONNX, RECIPES["fp32"]), (ONNX, RECIPES["w8a8_static"])]


@pytest.fixture(scope="module")
def model():
    return drowned_model()


def _causes(model, *, recipe="fp32", settings=(0.01,)):
    reference = FloatReference.of(model)
    return causes(model, reference, ONNX, RECIPES[recipe], tools={"onnx": "1"}, settings=settings)


def test_the_digest_follows_from_every_cause(model):
    other_data = replace(model, validation={"image": model.validation["image"][::-1]}, targets=model.targets[::-1])
    swapped = replace(model, calibration={"image": np.roll(model.calibration["image"], 1, axis=0)})
    digests = [
        _causes(model),
        _causes(model, recipe="fp16"),
        _causes(model, settings=(0.02,)),
        _causes(other_data),
        _causes(swapped),
        _causes(replace(model, weights_sha256="1" * 64)),
        _causes(replace(model, labels=("a", "b", "c", "d"))),
    ]
    assert len(set(digests)) == len(digests)
    assert _causes(drowned_model()) == digests[0]


def test_code_that_changed_shows_in_the_float_answers(model):
    other = drowned_model()
    other.module.head.dim = 0  # another forward, the same weights
    assert _causes(other) != _causes(model)


def _deliver(model, out, pairs=PAIRS, earlier=None, **settings):
    lines: list[str] = []
    options = Options(out=out, quick=True, **settings)
    found = deliver(model, pairs, options, lambda samples: None, say=lines.append, quiet=True, earlier=earlier)
    return found, "\n".join(lines)


def test_a_second_run_makes_nothing_and_finds_the_same(model, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    first, _ = _deliver(model, tmp_path / "bundles")
    written = (tmp_path / "bundles/drowned-onnx-fp32/model.onnx").stat().st_mtime_ns
    second, said = _deliver(model, tmp_path / "bundles")
    assert "unchanged since it was packed" in said
    assert "(an earlier attempt; --again makes another)" in said
    assert (tmp_path / "bundles/drowned-onnx-fp32/model.onnx").stat().st_mtime_ns == written
    assert [row.name for row in second.measured.rows] == [row.name for row in first.measured.rows]
    assert second.measured.rows[0].metric == first.measured.rows[0].metric
    _, said = _deliver(model, tmp_path / "bundles", pairs=PAIRS[:1], again=True)
    assert "unchanged" not in said


def test_what_nothing_has_changed_is_not_measured_again(model, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    out, results = tmp_path / "bundles", tmp_path / "run" / "results.json"
    results.parent.mkdir()
    first, _ = _deliver(model, out, pairs=PAIRS[:1], earlier=results)
    finish(first, results, Options(out=out), as_json=True)
    raw = results.with_suffix(".npz").read_bytes()

    second, said = _deliver(model, out, pairs=PAIRS[:1], earlier=results, objective="size")
    assert "nothing changed since it was measured" in said
    assert (second.measured_before, second.results) == (True, ())
    assert second.measured.rows == first.measured.rows
    finish(second, results, Options(out=out), as_json=True)
    assert results.with_suffix(".npz").read_bytes() == raw
    assert measurement.load(results).objective == "size"

    for changed in ({"again": True}, {"pairs": [(EXPORTERS["torchscript_traced"], RECIPES["fp32"])]}):
        found, _ = _deliver(model, out, **{"pairs": PAIRS[:1], "earlier": results} | changed)
        assert not found.measured_before
        assert found.results
    # Packed anew since: the same name, and perhaps another file.
    assert measured_before(results, "", first.packed, QUICK) is None
    results.touch()
    assert measured_before(results, "", first.packed, QUICK) is not None
    assert measured_before(results, "", first.packed, Settings()) is None


def test_what_the_time_budget_leaves_out_is_a_row_and_no_failure(model, tmp_path):
    found, said = _deliver(model, tmp_path / "bundles", time_budget_s=1e-9, pairs=[PAIRS[0], (ONNX, RECIPES["fp16"])])
    assert [path.name for path in found.packed] == ["drowned-onnx-fp32"]
    assert [row.status for row in found.failed] == ["not tried"]
    assert "not tried: the time budget was spent" in said


def test_under_a_time_budget_the_most_promising_is_tried_first_and_listed_in_its_place(model, tmp_path):
    pairs = [PAIRS[0], (ONNX, RECIPES["fp16"])]  # for size, fp16 promises more than fp32
    found, _ = _deliver(model, tmp_path / "bundles", time_budget_s=1e-9, pairs=pairs, objective="size")
    assert [path.name for path in found.packed] == ["drowned-onnx-fp16"]
    assert [row.name for row in found.failed] == ["drowned-onnx-fp32"]
    found, _ = _deliver(model, tmp_path / "bundles", time_budget_s=1e9, pairs=pairs, objective="size")
    assert [path.name for path in found.packed] == ["drowned-onnx-fp32", "drowned-onnx-fp16"]


def test_a_length_of_time_is_read_as_one_types_it():
    assert [seconds_of(text) for text in ("90", "90s", "1.5m", "2h")] == [90, 90, 90, 7200]
