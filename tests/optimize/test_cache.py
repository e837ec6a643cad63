"""What has not changed is not made again; anything that it follows from, changed, makes it anew."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
from conftest import ROOT
from drowned import drowned_model
from test_layers import EDGES, FILES

from edgekit.cli.optimize import finish, lines_of, seconds_of
from edgekit.edge_runtime.benchmark import measurement
from edgekit.edge_runtime.benchmark.benchmark_result import QUICK, Settings
from edgekit.optimize.api import Result, results_path
from edgekit.optimize.cache import MAKES_BUNDLES, code_digest, fingerprint, measured_before
from edgekit.optimize.deliver import deliver
from edgekit.optimize.exporters import EXPORTERS
from edgekit.optimize.recipes import RECIPES
from edgekit.optimize.user_model.request import Request
from edgekit.optimize.verify import FloatReference

ONNX = EXPORTERS["onnx"]
PAIRS = [(ONNX, RECIPES["fp32"]), (ONNX, RECIPES["w8a8_static"])]


@pytest.fixture(scope="module")
def model():
    return drowned_model()


def _fingerprint(model, *, recipe="fp32", settings=(0.01,)):
    reference = FloatReference.of(model)
    return fingerprint(model, reference, ONNX, RECIPES[recipe], tools={"onnx": "1"}, settings=settings)


def test_the_digest_follows_from_every_cause(model):
    other_data = replace(model, validation={"image": model.validation["image"][::-1]}, targets=model.targets[::-1])
    swapped = replace(model, calibration={"image": np.roll(model.calibration["image"], 1, axis=0)})
    digests = [
        _fingerprint(model),
        _fingerprint(model, recipe="fp16"),
        _fingerprint(model, settings=(0.02,)),
        _fingerprint(other_data),
        _fingerprint(swapped),
        _fingerprint(replace(model, weights_sha256="1" * 64)),
        _fingerprint(replace(model, labels=("a", "b", "c", "d"))),
    ]
    assert len(set(digests)) == len(digests)
    assert _fingerprint(drowned_model()) == digests[0]


def test_code_that_changed_shows_in_the_float_answers(model):
    other = drowned_model()
    other.module.head.dim = 0  # another forward, the same weights
    assert _fingerprint(other) != _fingerprint(model)


def _deliver(model, out, pairs=PAIRS, earlier=None, **settings):
    lines: list[str] = []
    request = Request(model="m", out=out, quick=True, **settings)
    found = deliver(
        model, pairs, request, lambda samples: None, earlier=earlier, on_event=lambda e: lines.extend(lines_of(e))
    )
    return found, "\n".join(lines)


def _finish(delivered, out, runs):
    finish(Result(delivered=delivered, says=()), Request(model="m", out=out, runs=runs), as_json=True)


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
    out, results = tmp_path / "bundles", results_path(Request(model="m", runs=tmp_path), "drowned")
    results.parent.mkdir()
    first, _ = _deliver(model, out, pairs=PAIRS[:1], earlier=results)
    _finish(first, out, tmp_path)
    raw = results.with_suffix(".npz").read_bytes()

    second, said = _deliver(model, out, pairs=PAIRS[:1], earlier=results, objective="size")
    assert "nothing changed since it was measured" in said
    assert (second.measured_before, second.results) == (True, ())
    assert second.measured.rows == first.measured.rows
    _finish(second, out, tmp_path)
    assert results.with_suffix(".npz").read_bytes() == raw
    assert measurement.load(results).objective == "size"

    for changed in ({"again": True}, {"pairs": [(EXPORTERS["torchscript_traced"], RECIPES["fp32"])]}):
        found, _ = _deliver(model, out, **{"pairs": PAIRS[:1], "earlier": results} | changed)
        assert not found.measured_before
        assert found.results
    paths = [bundle.path for bundle in first.packed]
    # Packed anew since: the same name, and perhaps another file.
    assert measured_before(results, "", paths, QUICK) is None
    results.touch()
    assert measured_before(results, "", paths, QUICK) is not None
    assert measured_before(results, "", paths, Settings()) is None


def test_what_the_time_budget_leaves_out_is_a_row_and_no_failure(model, tmp_path):
    found, said = _deliver(model, tmp_path / "bundles", time_budget_s=1e-9, pairs=[PAIRS[0], (ONNX, RECIPES["fp16"])])
    assert [bundle.name for bundle in found.packed] == ["drowned-onnx-fp32"]
    assert [row.status for row in found.failed] == ["not tried"]
    assert "not tried: the time budget was spent" in said


def test_under_a_time_budget_the_most_promising_is_tried_first_and_listed_in_its_place(model, tmp_path):
    pairs = [PAIRS[0], (ONNX, RECIPES["fp16"])]  # for size, fp16 promises more than fp32
    found, _ = _deliver(model, tmp_path / "bundles", time_budget_s=1e-9, pairs=pairs, objective="size")
    assert [bundle.name for bundle in found.packed] == ["drowned-onnx-fp16"]
    assert [row.name for row in found.failed] == ["drowned-onnx-fp32"]
    found, _ = _deliver(model, tmp_path / "bundles", time_budget_s=1e9, pairs=pairs, objective="size")
    assert [bundle.name for bundle in found.packed] == ["drowned-onnx-fp32", "drowned-onnx-fp16"]


def _copy(tmp_path):
    """The code of edgekit that may make bundles, to be changed."""
    for part in ("optimize", "train", "edge_runtime"):
        shutil.copytree(ROOT / part, tmp_path / part, ignore=shutil.ignore_patterns("__pycache__", "models"))
    return tmp_path


@pytest.mark.parametrize(
    ("file", "plain", "trained"),
    [
        ("optimize/report/page.py", "same", "same"),
        ("optimize/preflight/check.py", "same", "same"),
        ("optimize/deliver.py", "same", "same"),
        ("optimize/recipes/fp16.py", "other", "other"),
        ("optimize/tuning/qat.py", "other", "other"),
        ("edge_runtime/bundle/manifest.py", "other", "other"),
        ("train/loop/epoch.py", "same", "other"),
    ],
)
def test_code_that_makes_bundles_makes_them_anew_and_no_other_does(file, plain, trained, tmp_path):
    root = _copy(tmp_path / "first")
    before = code_digest(trains=False, root=root), code_digest(trains=True, root=root)
    assert before == (code_digest(trains=False), code_digest(trains=True))
    changed = _copy(tmp_path / "second")
    with (changed / file).open("a") as written:
        written.write("# touched\n")
    after = code_digest(trains=False, root=changed), code_digest(trains=True, root=changed)
    assert ["same" if one == other else "other" for one, other in zip(before, after, strict=True)] == [plain, trained]


# What `pack.py` leads to and no bundle follows from: what is looked up here, said, or a cause by itself.
NO_CAUSE = {"cache", "events", "steps", "temporary_files", "user_model.user_code"}


def test_the_code_that_makes_bundles_is_all_that_packing_leads_to():
    reached, ahead = set(), {"optimize.pack"}
    while ahead:
        name = ahead.pop()
        reached.add(name)
        if name.removeprefix("optimize.") not in NO_CAUSE:
            ahead |= {one for one in EDGES[name] if one.startswith("optimize.")} - reached
    paths = {FILES[name].relative_to(ROOT).as_posix() for name in reached if FILES[name].name != "__init__.py"}
    left = {path for path in paths if not path.startswith(MAKES_BUNDLES)}
    assert left == {f"optimize/{name.replace('.', '/')}.py" for name in NO_CAUSE}


def test_a_length_of_time_is_read_as_one_types_it():
    assert [seconds_of(text) for text in ("90", "90s", "1.5m", "2h")] == [90, 90, 90, 7200]
