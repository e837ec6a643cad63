"""The raw libraries beside our bundles: what is measured together, what fails alone, and what the table makes of it."""

import json
import os
from dataclasses import replace

import numpy as np
import pytest
from tiny_bundle import make_bundle

from edgekit.edge_runtime.bundle.bundle import Bundle
from experiments.peers.candidates import HERE, Candidate, candidates
from experiments.peers.child import _behind_numpy
from experiments.peers.make import MAKERS, maker
from experiments.peers.measure import Settings, measure
from experiments.peers.run import main
from experiments.peers.table import compared, fastest, peers_table, ratio

OURS = Candidate(
    name="edgekit-onnx-fp32-onnxruntime",
    library="edgekit, onnxruntime",
    precision="fp32",
    job="pixels",
    environment=HERE,
    engine="bundle:onnxruntime",
    file="bundles/onnx-fp32",
    made_by="edgekit-onnx-fp32",
)


def row(ms, db, *, ours=False, job="pixels", error="", library="onnxruntime"):
    return {
        "library": library, "engine": "onnxruntime 1.32.0", "precision": "fp32", "job": job, "ours": ours,
        "p50_ms": ms, "p90_ms": ms, "rounds_p50_ms": [ms, 1.1 * ms, 0.9 * ms, ms], "db": db, "verdict": "verified",
        "load_ms": 1.0, "peak_rss_bytes": 1000, "bytes": 1000, "disturbed": [], "error": error,
    }  # fmt: skip


def test_one_that_fails_has_a_reason_and_costs_no_other_its_figures(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.getcwd())
    path = make_bundle(tmp_path / "bundles", name="quarters-onnx-fp32").rename(tmp_path / OURS.file)
    with Bundle.open(path) as bundle:
        golden = bundle.golden()
    samples = {"pixels": golden.inputs["image"]}
    steps = []
    missing = replace(OURS, name="missing", file="nothing.onnx", engine="bundle:onnxruntime")
    found = measure(
        [missing, OURS, replace(OURS, name="again")],
        tmp_path,
        samples,
        {},
        num_threads=1,
        settings=Settings(rounds=3, round_s=0.01),
        on_progress=lambda done, total: steps.append((done, total)),
    )
    assert "nothing.onnx" in found[0].error
    assert steps == [(i, 12) for i in range(1, 13)]
    for one in found[1:]:
        assert (one.error, len(one.wall_ns)) == ("", 3)
        assert min(len(rows) for rows in one.wall_ns) >= 1
        assert np.allclose(one.answers, next(iter(golden.outputs.values())), atol=1e-6)


def test_numpy_normalizes_as_its_user_would():
    pixels = np.arange(12, dtype=np.uint8).reshape(1, 2, 2, 3)
    wanted = (pixels / 255 - [0.1, 0.2, 0.3]) / [0.4, 0.5, 0.6]
    front = {"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6]}
    planes = _behind_numpy(lambda x: x, front)(pixels)
    assert (planes.dtype, planes.flags.c_contiguous) == (np.float32, True)
    assert np.abs(planes - wanted.transpose(0, 3, 1, 2)).max() < 1e-6
    assert np.abs(_behind_numpy(lambda x: x, front, by_pixel=True)(pixels) - wanted).max() < 1e-6
    assert _behind_numpy(lambda x: x, {"low": 2, "high": 5})(pixels).max() == 5
    assert _behind_numpy(lambda x: x, {})(pixels) is pixels


def test_each_library_takes_tensors_and_pixels_and_every_file_has_a_maker():
    known = candidates()
    raw = [one for one in known if not one.ours]
    assert len({one.name for one in known}) == len(known) == 28
    assert sorted(one.job for one in raw) == ["pixels"] * 10 + ["tensors"] * 10
    assert {one.made_by for one in raw} <= MAKERS.keys()
    assert maker("edgekit-executorch_xnnpack-w8a8_static")[1].keywords == {
        "exporter": "executorch_xnnpack",
        "recipe": "w8a8_static",
    }


def test_a_file_that_does_not_follow_the_float_model_is_not_the_fastest():
    rows = [row(1.0, 9.9), row(2.0, 10.0), row(3.0, 40.0), row(0.5, 90.0, error="it crashed")]
    assert fastest(rows)["p50_ms"] == 2.0
    assert fastest(rows, least_db=40.1) is None


def test_ours_has_to_be_as_close_as_the_library_up_to_60_db():
    rows = {"a": row(1.0, 120.0), "b": row(2.0, 60.0, ours=True), "c": row(0.5, 59.9, ours=True)}
    ours, theirs, as_close = compared(rows, "pixels")
    assert (ours["name"], theirs["name"], as_close) == ("b", "a", True)
    assert ratio(ours, theirs)[0] == pytest.approx(2.0)
    del rows["b"]
    assert compared(rows, "pixels")[2] is False


def test_the_page_has_a_ratio_a_roof_and_a_reason(tmp_path):
    rows = {
        "openvino-int8-pixels": row(2.0, 30.0, library="OpenVINO"),
        "openvino-int8-tensors": row(1.0, 30.0, job="tensors", library="OpenVINO"),
        "ncnn-fp32-pixels": row(0.0, 0.0, error="not made: no such | operator"),
        "edgekit-onnx-w8a8_static-openvino": row(1.5, 31.0, ours=True, library="edgekit, OpenVINO"),
        "edgekit-onnx-w8a8_static-auto": row(1.4, 31.0, ours=True),
    }
    results = {
        "models": {"torchvision:resnet18": {"1": {"rows": rows, "mflop": 150.0, "settings": {"rounds": 8}}}},
        "peaks": {"1": {"int8": 400.0, "fp32": 100.0}},
        "machine": {"cpu": "a CPU", "cores": "2"},
        "libraries": {"openvino": {"openvino": "2026.4.1"}},
        "commit": "abc",
    }
    (tmp_path / "peers.json").write_text(json.dumps(results))
    text = peers_table(tmp_path / "peers.json")
    assert "a CPU (2 cores), 8 rounds." in text
    assert "| edgekit, OpenVINO fp32, 1.5 ms, 31.0 dB | 0.75 [" in text
    assert "| **1.50 [" in text
    assert "| onnxruntime 1.32.0, 1.4 ms |" in text
    assert "Geometric mean of the ratios: 0.75 with pixels in, 1.50 with tensors in." in text
    assert "our fastest file does 25 % of the 400 GOP/s" in text
    assert "| ncnn-fp32-pixels | not made: no such \\| operator |" in text
    assert peers_table(tmp_path / "none.json").startswith("Not measured yet: `python -m experiments.peers`")


def test_an_unknown_model_or_candidate_is_refused(capsys):
    assert main(["--models", "alexnet"]) == 2
    assert "unknown model 'alexnet'. Known: birds_cnn" in capsys.readouterr().err
    assert main(["--candidates", "tensorrt"]) == 2
    assert "unknown candidate 'tensorrt'. Known: " in capsys.readouterr().err
