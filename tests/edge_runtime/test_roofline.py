"""Peaks of this machine, measured once for all tests here; roofline arithmetic by hand; the plot read back."""

import datetime
from dataclasses import replace
from itertools import combinations
from xml.etree import ElementTree

import numpy as np
import onnxruntime
import pytest

from edgekit.edge_runtime.errors import EngineError
from edgekit.edge_runtime.profiling import machine_peaks as peaks_module
from edgekit.edge_runtime.profiling.machine_peaks import Peak, Peaks, machine_peaks, peaks_file
from edgekit.edge_runtime.profiling.operators import Operator
from edgekit.edge_runtime.profiling.profile import Profile
from edgekit.edge_runtime.profiling.roofline import points, whole
from edgekit.edge_runtime.profiling.roofline_plot import roofline_svg
from edgekit.edge_runtime.profiling.tiny_onnx import Tensor, one_node_model
from edgekit.edge_runtime.svg import free_place, overlap, rough_width

MB = 1_000_000


def peak(name, value, unit="GB/s", holds=None):
    return Peak(name=name, unit=unit, value=value, how="by hand", holds_bytes=holds, samples=(value,))


BY_HAND = Peaks(
    cpu="by hand",
    num_threads=1,
    measured_at="2026-01-01T00:00:00+00:00",
    peaks=(
        peak("fp32", 100.0, "GOP/s"),
        peak("int8", 400.0, "GOP/s"),
        peak("L2", 90.0, holds=1 * MB),
        peak("L3", 50.0, holds=30 * MB),
        peak("memory", 10.0),
    ),
)


def operator(name, *, macs, moved, us, precision="fp32"):
    return Operator(name=name, kind="Conv", ns=(us * 1000,) * 20, macs=macs, bytes=moved, precision=precision)


def profile(*operators, name="by-hand", model_bytes=0, run_us=100):
    return Profile(
        name=name,
        status="verified",
        engine="by hand",
        num_threads=1,
        model_bytes=model_bytes,
        plain_ns=(run_us * 1000,) * 20,
        profiled_ns=(run_us * 1000,) * 20,
        operators=operators,
        remarks=(),
    )


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """This machine's peaks, kept in a cache of the tests' own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield machine_peaks(1)


def test_peaks_are_those_of_a_machine(measured):
    assert [peak.name for peak in measured.peaks] == ["fp32", "int8", "L2", "L3", "memory"]
    assert all(peak.value == max(peak.samples) > 0.1 and len(peak.samples) >= 5 for peak in measured.peaks)
    assert measured.arithmetic("fp16").name == "fp32"
    assert measured.arithmetic("int4").name == "int8"


def test_a_peak_counts_what_was_done_in_the_time_that_passed(measured):
    """Each figure repeats its work for 0.35 s, however busy the machine is: at twice the rate half of that would do."""
    l2, l3 = (level.holds_bytes for level in measured.peaks[2:4])
    per_run = {"fp32": 2 * 512**3, "int8": 2 * 512**3}  # multiplications and additions of a product of two matrices
    for name, size in (("L2", l2 // 4), ("L3", l3 // 4), ("memory", min(512 << 20, 4 * l3))):
        per_run[name] = 2 * size * max(1, (8 << 20) // size)  # bytes read and written
    seconds = {peak.name: sum(per_run[peak.name] / rate for rate in peak.samples) / 1e9 for peak in measured.peaks}
    assert min(seconds.values()) > 0.8 * 0.35
    assert max(seconds["fp32"], seconds["int8"]) < 1.8 * 0.35


def test_peaks_are_kept_for_a_day_and_read_back_as_they_were(measured):
    assert machine_peaks(1) == measured
    path, now = peaks_file(1), datetime.datetime.now(datetime.UTC)
    for age, expected in ((23, True), (25, False)):
        kept = replace(measured, measured_at=(now - datetime.timedelta(hours=age)).isoformat(timespec="seconds"))
        path.write_bytes(peaks_module.canonical_json(peaks_module.to_plain(kept)))
        assert (peaks_module._kept(path) == kept) == expected
    path.write_text('{"cpu": "cut o')
    assert peaks_module._kept(path) is None


def test_a_measurement_that_fails_says_so():
    with pytest.raises(EngineError, match=r"peaks could not be measured \(status 1\): .*max_workers"):
        machine_peaks(0, again=True)


def test_of_two_measurements_the_higher_figures_count():
    worse = replace(BY_HAND, peaks=(peak("fp32", 80.0, "GOP/s"), peak("L2", 95.0, holds=1 * MB)))
    assert [found.value for found in peaks_module.better(BY_HAND, worse).peaks] == [100.0, 95.0]


def test_a_point_lies_where_arithmetic_puts_it():
    compute = operator("compute", macs=2 * MB, moved=100_000, us=80)  # 40 operations a byte
    memory = operator("memory", macs=50_000, moved=100_000, us=20)  # 1 operation a byte
    by_name = {point.name: point for point in points(profile(compute, memory), BY_HAND)}
    assert by_name["compute"].intensity == 40
    assert by_name["compute"].gops == 50
    assert (by_name["compute"].roof_gops, by_name["compute"].bound) == (100.0, "compute")
    assert (by_name["memory"].roof_gops, by_name["memory"].bound) == (90.0, "memory")
    assert by_name["memory"].of_roof == pytest.approx(5 / 90)
    assert by_name["memory"].share == pytest.approx(0.2)


@pytest.mark.parametrize(("model_bytes", "name"), [(0, "L2"), (14 * MB, "L3"), (90 * MB, "memory")])
def test_the_memory_that_counts_is_the_smallest_that_holds_the_model(model_bytes, name):
    found = points(profile(operator("a", macs=50_000, moved=100_000, us=20), model_bytes=model_bytes), BY_HAND)
    assert found[0].memory == name


def test_int8_has_a_roof_of_its_own_and_the_run_that_of_most_multiplications():
    int8 = operator("int8", macs=8 * MB, moved=100_000, us=80, precision="int8")
    float32 = operator("fp32", macs=1 * MB, moved=100_000, us=20)
    run = whole(profile(int8, float32), BY_HAND)
    assert (run.precision, run.roof_gops) == ("int8", 400.0)
    assert run.gops == 2 * 9 * MB / 100_000  # by the plain run, not by the profiler's times
    assert run.intensity == 90


def test_what_is_not_known_is_not_placed():
    unknown = operator("a", macs=None, moved=None, us=20)
    short = operator("b", macs=1000, moved=1000, us=1)
    assert points(profile(unknown, short), BY_HAND) == []
    assert whole(profile(unknown, short), BY_HAND) is None
    no_int8 = replace(BY_HAND, peaks=tuple(peak for peak in BY_HAND.peaks if peak.name != "int8"))
    assert points(profile(operator("c", macs=MB, moved=1000, us=20, precision="int8")), no_int8) == []
    assert roofline_svg([], [], BY_HAND) == ""


def crowd():
    """Forty operators in two bundles, most of them at nearly the same place."""
    draw = np.random.default_rng(0)
    profiles = []
    for name in ("first-bundle-fp32", "second-bundle-fp32"):
        macs = (draw.lognormal(14, 0.3, 20)).astype(int)
        found = [operator(f"{i}", macs=int(m), moved=int(m) // 8, us=60 + i) for i, m in enumerate(macs)]
        found.append(operator("large", macs=50 * MB, moved=9 * MB, us=2000))
        profiles.append(profile(*found, name=name, run_us=4000))
    every = [point for found in profiles for point in points(found, BY_HAND)]
    return roofline_svg(every, [whole(found, BY_HAND) for found in profiles], BY_HAND)


def test_labels_of_the_plot_cover_no_other_and_stay_inside():
    tree = ElementTree.fromstring(crowd())
    width, height = float(tree.get("width")), float(tree.get("height"))
    boxes = []
    for text in tree.iter("{http://www.w3.org/2000/svg}text"):
        if text.get("transform"):
            continue  # along a line
        x, y, size = (float(text.get(key)) for key in ("x", "y", "font-size"))
        wide = 0.85 * rough_width(text.text, size)  # rough_width is more than any font takes
        left = x - {"start": 0, "middle": wide / 2, "end": wide}[text.get("text-anchor", "start")]
        boxes.append((left, y - 0.4 * size, left + wide, y + 0.4 * size))
    assert len(boxes) > 12
    assert [(a, b) for a, b in combinations(boxes, 2) if overlap(a, b)] == []
    assert all(box[0] >= 0 and box[1] >= 0 and box[2] <= width and box[3] <= height for box in boxes)


def test_every_operator_and_run_is_drawn_and_the_same_profile_gives_the_same_bytes():
    svg = crowd()
    assert svg.count("<title>") == 42
    assert svg.count("<polygon") == 2
    assert svg == crowd()
    assert "first-bundle-fp32" in svg
    assert "int8 400 GOP/s" in svg


def test_a_place_for_a_label_is_free_or_none():
    inside = (0, 0, 100, 100)
    assert free_place(10, 50, 30, 10, taken=[], inside=inside)[2:4] == ("left", False)
    left_of_it = free_place(90, 50, 30, 10, taken=[], inside=inside)
    assert left_of_it[2] == "right"
    assert free_place(50, 50, 30, 10, taken=[(0, 0, 100, 100)], inside=inside) is None


def test_a_model_written_by_hand_computes_what_numpy_does():
    left, right = np.arange(6, dtype=np.float32).reshape(2, 3), np.ones((3, 4), np.float32)
    given, result = Tensor("a", left.dtype, left.shape), Tensor("c", left.dtype, (2, 4))
    session = onnxruntime.InferenceSession(one_node_model("MatMul", given, {"b": right}, result))
    assert np.array_equal(session.run(None, {"a": left})[0], left @ right)
