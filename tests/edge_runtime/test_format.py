"""How numbers are written, each function just at its boundaries."""

import pytest

from edgekit.edge_runtime.benchmark.stats import Ratio
from edgekit.edge_runtime.bundle.manifest import Metric
from edgekit.edge_runtime.format import (
    bytes_text,
    count_text,
    db_text,
    difference_text,
    energy_text,
    faster_text,
    growth_text,
    kept_text,
    limit_text,
    metric_text,
    ms_text,
    operations_text,
    percent_text,
    quality_name,
    rate_text,
    ratio_text,
    smaller_text,
    speed_text,
    times_text,
    value_text,
)
from edgekit.edge_runtime.tasks.metrics import NOT_FINITE

ACCURACY = Metric(name="accuracy", value=0.9805, low=0.96, high=0.99, samples=359, float_value=0.99, agreement=1.0)


def ratio(value: float, low: float, high: float) -> Ratio:
    return Ratio(value=value, low=low, high=high)


@pytest.mark.parametrize(
    ("text", "given", "written"),
    [
        (ms_text, (None, 0.0203, 0.5, 0.9994, 0.9995, 12.345, 999.4, 999.5, 1500, 1_234_000),
         ("", "20.3 µs", "500 µs", "999 µs", "1 ms", "12.3 ms", "999 ms", "1 s", "1.5 s", "1,230 s")),
        (bytes_text, (None, 0, 999, 1000, 35_430, 999_499, 999_500, 4_200_000, 1.5e9),
         ("", "0 B", "999 B", "1 kB", "35.4 kB", "999 kB", "1 MB", "4.2 MB", "1.5 GB")),
        (rate_text, (None, 0.1234, 8.5, 123.4, 999.4, 999.5, 55_123.0),
         ("", "0.123", "8.5", "123", "999", "1,000", "55,100")),
        (operations_text, (0.0123, 0.9994, 0.9995, 4.132, 999.4, 999.5),
         ("12.3 MOP/s", "999 MOP/s", "1 GOP/s", "4.13 GOP/s", "999 GOP/s", "1 TOP/s")),
        (energy_text, (None, 1.234), ("", "1.23 mJ")),
        (db_text, (200.0, 199.94, 41.46, -3.0, -200.0), ("identical", "199.9 dB", "41.5 dB", "-3.0 dB", "not finite")),
        (percent_text, (0.0, 0.0004, 0.0006, 0.871, 0.9994, 0.99951, 1.0, 1.204),
         ("0 %", "<0.1 %", "0.1 %", "87.1 %", "99.9 %", ">99.9 %", "100 %", "120.4 %")),
        (limit_text, (0.01, 0.025, 0.9, 1.0), ("1 %", "2.5 %", "90 %", "100 %")),
        (times_text, (1.0, 1.094, 1.1, 3.52, 9.94, 9.96, 131.0, 1310.0),
         ("1.00×", "1.09×", "1.1×", "3.5×", "9.9×", "10×", "131×", "1,310×")),
        (smaller_text, (None, 3.52, 1 / 3.52, 1.0049, 1.0051, 1 / 1.0049, 1.0),
         ("", "3.5× smaller", "3.5× larger", "same size", "1.01× smaller", "same size", "same size")),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)  # fmt: skip
def test_a_number_and_its_unit(text, given, written):
    assert tuple(map(text, given)) == written


def test_a_share_is_never_rounded_to_all_or_to_nothing():
    assert [percent_text(share, 0) for share in (0.994, 0.996, 0.004, 0.006)] == ["99 %", ">99 %", "<1 %", "1 %"]
    assert [percent_text(share, 2) for share in (0.99994, 0.99996, 1)] == ["99.99 %", ">99.99 %", "100 %"]


def test_counts_agree_with_their_noun():
    assert [count_text(n, "sample") for n in (0, 1, 2, 1234)] == ["0 samples", "1 sample", "2 samples", "1,234 samples"]


def test_growth_has_its_sign():
    pairs = ((100, 101), (100, 97), (10_000, 10_004), (10_000, 10_006))
    assert [growth_text(*pair) for pair in pairs] == ["+1.0 %", "-3.0 %", "±0 %", "+0.1 %"]


@pytest.mark.parametrize(
    ("given", "cell", "sentence"),
    [
        (ratio(1.83, 1.79, 1.88), "1.83× faster [1.79, 1.88]", "1.83× faster than x [1.79, 1.88]"),
        (ratio(0.5, 0.4, 0.625), "2.00× slower [1.60, 2.50]", "2.00× slower than x [1.60, 2.50]"),
        (ratio(1.01, 1.0001, 1.02), "1.01× faster [1.00, 1.02]", "1.01× faster than x [1.00, 1.02]"),
        (ratio(1.01, 1.0, 1.04), "1.01× [1.00, 1.04]", "no difference beyond noise, 1.01× [1.00, 1.04]"),
        (ratio(15.7, 9.994, 100.2), "15.7× faster [9.99, 100]", "15.7× faster than x [9.99, 100]"),
    ],
)
def test_a_speed_ratio_is_above_1_and_says_which_way(given, cell, sentence):
    assert (faster_text(given), difference_text(given, than="x")) == (cell, sentence)


def test_what_was_not_measured_is_empty_and_a_plain_ratio_claims_no_direction():
    assert faster_text(None) == ""
    assert ratio_text(ratio(0.62, 0.6, 0.64)) == "0.62× [0.60, 0.64]"


def test_two_short_measurements():
    times = ((2.0, 1.1), (1.1, 2.0), (1.0, 1.099), (1.0, 1.101))
    said = ["1.8× faster", "1.8× slower", "about as fast", "1.1× slower"]
    assert [speed_text(*pair, noise=0.1) for pair in times] == said


def test_a_metric_is_a_percentage_or_a_plain_number():
    assert metric_text(ACCURACY) == "98.05 % [96.0, 99.0]"
    assert [value_text("accuracy", 0.9805, digits=n) for n in (1, 2)] == ["98.0 %", "98.05 %"]
    assert value_text("mean_absolute_error", 41.234) == "41.23"
    assert value_text("mean_absolute_error", NOT_FINITE) == "not finite"
    assert value_text("a user's own", 0.5) == "0.5"


def test_what_is_kept_has_its_name():
    error = Metric(name="mean_absolute_error", value=2.0, low=1.9, high=2.1, samples=9, float_value=1.5, agreement=1.0)
    assert (kept_text(ACCURACY), quality_name(ACCURACY)) == ("99.0 %", "accuracy")
    assert (kept_text(error), quality_name(error)) == ("75.0 %", "quality (by mean absolute error)")
    assert (kept_text(None), quality_name(None)) == ("–", "accuracy")
