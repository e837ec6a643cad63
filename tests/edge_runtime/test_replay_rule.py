"""The rule of a replay: each floor of each output just met and just missed, one sample at a time and in batches."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tiny_bundle import make_bundle

from edgekit.edge_runtime.bundle.bundle import Bundle
from edgekit.edge_runtime.bundle.manifest import Floor
from edgekit.edge_runtime.worker.replay import judge

FORMAT1 = Path(__file__).parents[1] / "data" / "format1" / "digits_cnn-onnx-w8a8_static"


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    bundle = Bundle.open(make_bundle(tmp_path_factory.mktemp("rule"), name="quarters"))
    return bundle.manifest, bundle.golden()


def with_floor(manifest, **floor):
    """The manifest with this floor for every output of its only program."""
    program = manifest.program()
    limits = {"sqnr_db": None, "agreement": None, "max_abs": None} | floor
    floors = {name: Floor(**limits) for name in program.golden.floors}
    return replace(manifest, programs=(replace(program, golden=replace(program.golden, floors=floors)),))


def near_ties(golden):
    """The golden samples with answers of which the first is a near tie; the same, and with its two labels swapped."""
    (name,) = golden.outputs
    close = np.zeros_like(golden.outputs[name])
    rows = np.arange(len(close))
    close[rows, rows % 2], close[rows, 1 - rows % 2] = 0.9, 0.1
    close[0, :2] = 0.501, 0.499
    other = close.copy()
    other[0, :2] = 0.499, 0.501
    return replace(golden, outputs={name: close}), {name: close}, {name: other}


def test_one_answer_in_twelve_that_differs_meets_or_misses_the_agreement(packed):
    manifest, golden = packed
    golden, same, other = near_ties(golden)
    share = 1 - 1 / golden.samples
    for floor, passed in ((share, True), (share + 1e-9, False)):
        limited = with_floor(manifest, sqnr_db=20.0, agreement=floor, max_abs=0.01)
        assert judge(limited, golden, other, "onnxruntime").passed is passed
        # In batches, the answers to one sample at a time are the measure.
        assert judge(limited, golden, same, "onnxruntime", together=other, batch=4).passed is passed


def test_the_noise_and_the_largest_difference_meet_or_miss_their_floors(packed):
    manifest, golden = packed
    golden, same, other = near_ties(golden)
    found = judge(with_floor(manifest, sqnr_db=0.0), golden, other, "onnxruntime")
    for floor in ({"sqnr_db": found.sqnr_db}, {"max_abs": found.max_abs}):
        assert judge(with_floor(manifest, **floor), golden, other, "onnxruntime").passed
        assert judge(with_floor(manifest, **floor), golden, same, "onnxruntime", together=other, batch=4).passed
    for floor in ({"sqnr_db": found.sqnr_db + 1e-6}, {"max_abs": found.max_abs - 1e-6}):
        assert not judge(with_floor(manifest, **floor), golden, other, "onnxruntime").passed
        assert not judge(with_floor(manifest, **floor), golden, same, "onnxruntime", together=other, batch=4).passed


def test_format_1_holds_its_agreement_too():
    bundle = Bundle.open(FORMAT1)
    golden, same, other = near_ties(bundle.golden())
    share = 1 - 1 / golden.samples
    for floor, passed in ((share, True), (share + 1e-9, False)):
        limited = with_floor(bundle.manifest, sqnr_db=20.0, agreement=floor)
        assert judge(limited, golden, other, "onnxruntime").passed is passed
        assert judge(limited, golden, same, "onnxruntime", together=other, batch=4).passed is passed
