"""The table: which columns are there, what a cell says, and the words for a ratio."""

from dataclasses import replace

import pytest
from rich.console import Console

from edgekit.cli import terminal
from edgekit.edge_runtime.benchmark.benchmark_result import Settings
from edgekit.edge_runtime.benchmark.measurement import Measurement
from edgekit.edge_runtime.benchmark.rows import Pair, Row
from edgekit.edge_runtime.benchmark.stats import Ratio
from edgekit.edge_runtime.benchmark.table import (
    MORE,
    NARROW,
    WIDE,
    cells,
    columns,
    footnotes,
    markdown,
    pair_text,
    present,
)
from edgekit.edge_runtime.bundle.manifest import Metric

METRIC = Metric(name="accuracy", value=0.9889, low=0.972, high=0.996, samples=359, float_value=0.9889, agreement=1.0)
ROW = Row(
    name="digits_cnn-executorch_xnnpack-w8a8_static", status="verified", metric=METRIC, model_bytes=35_800,
    load_ms=0.757, p50_ms=0.0114, p90_ms=0.0192, p99_ms=0.0263, peak_rss_bytes=40_200_000, times_smaller=2.66,
    times_faster=15.7, times_faster_low=15.2, times_faster_high=16.0, samples=10_000, max_ms=1.2, per_second=80_123.0,
    cpu_ms=0.0115, rss_added_bytes=6_200_000, cold_start_ms=251.4,
)  # fmt: skip


def measured(*rows: Row) -> Measurement:
    return Measurement(
        model="digits_cnn", baseline="", rows=rows, stages={}, notes={}, machine={"cpu": "a CPU", "cores": "2"},
        settings=Settings(), measured_at="2026-01-02T03:04:05+00:00",
    )  # fmt: skip


def cell(row: Row, column: str) -> str:
    return cells(row, ["model file", column])[1]


def test_each_figure_has_its_unit():
    names = ("cold start", "per second", "RSS added", "max", "CPU", "energy", "p99")
    assert [cell(ROW, name) for name in names] == ["251 ms", "80,100", "6.2 MB", "1.2 ms", "11.5 µs", "", "26.3 µs"]
    assert cell(replace(ROW, energy_mj=1.234), "energy") == "1.23 mJ"
    assert [cell(ROW, name) for name in ("size ratio", "speed ratio [95 %]")] == [
        "2.7× smaller",
        "15.7× faster [15.2, 16.0]",
    ]


def test_a_time_that_depends_on_the_input_is_said_with_the_slow_inputs_time():
    slow = replace(
        ROW, name="exit", inputs=32, p50_ms=0.04, p90_inputs_ms=2.1, slow_inputs=52.0, times_faster_p90_inputs=1.3
    )
    assert cell(slow, "p90 of inputs") == "2.1 ms"
    [note] = footnotes([slow])
    assert note == (
        "exit: its time depends on the input: the slowest tenth of 32 inputs takes 52× the CPU time of the median one. "
        "Half of all runs took up to 40 µs, nine of ten inputs up to 2.1 ms; against the baseline's it is 1.3× faster "
        "there"
    )
    assert footnotes([replace(slow, slow_inputs=1.24)]) == footnotes([replace(slow, slow_inputs=None)]) == []
    assert len(footnotes([replace(slow, slow_inputs=1.25)])) == 1


def test_columns_without_a_value_are_left_out():
    assert present([ROW], MORE) == [name for name in MORE if name != "energy"]
    old = replace(ROW, cold_start_ms=None, per_second=None, rss_added_bytes=None)
    assert set(WIDE) - set(present([old])) == {"cold start", "per second", "RSS added", "p90 of inputs"}
    assert columns([old])[1] == "accuracy [95 %]"
    assert markdown([old]).splitlines()[0].count("|") == 14  # what tables of older files always had


def test_a_p99_of_few_samples_is_not_shown():
    assert cell(replace(ROW, samples=661), "p99") == "–"
    assert cell(replace(ROW, samples=662), "p99") == "26.3 µs"


def test_a_pair_is_one_sentence():
    pair = Pair(name="m-a", other="m-b", faster=Ratio(value=1.83, low=1.79, high=1.88))
    assert pair_text(pair, model="m") == "a: 1.83× faster than b [1.79, 1.88]"
    noise = replace(pair, faster=Ratio(value=1.01, low=0.9, high=1.1))
    assert pair_text(noise) == "m-a and m-b: no difference beyond noise, 1.01× [0.90, 1.10]"


def test_what_is_wrong_with_the_machine_is_said_once():
    first, second = (replace(ROW, name=name, invalid_because=("hot", name)) for name in ("a", "b"))
    assert footnotes([first, second]) == ["no row is valid: hot", "a: not valid: a", "b: not valid: b"]
    assert footnotes([first]) == ["a: not valid: hot; a"]


@pytest.mark.parametrize("width", [80, 98, 120, 130])
@pytest.mark.parametrize("details", [False, True])
def test_it_fits_the_terminal_without_breaking_a_number(capsys, width, details):
    console = Console(width=width, force_terminal=True, color_system=None, highlight=False)
    failed = Row(name="digits_cnn-onnx-w4", status="failed", error="stage 'lower' is wrong on real samples " * 9)
    rows = (ROW, replace(ROW, name="digits_cnn-onnx-fp32"), failed)
    terminal.print_measurement(measured(*rows), details=details, console=console)
    text = capsys.readouterr().out
    table = text.split("Batch 1")[0].splitlines()
    assert max(map(len, table)) <= width
    left_out = ("251 ms", "6.2 MB") if width == 80 else ()  # columns that do not fit
    for whole in ("35.8 kB", "11.4 µs", "[15.2, 16.0]", "15.7× faster", "2.7× smaller", "static", "failed"):
        assert whole in text
    for whole in ("251 ms", "6.2 MB"):
        assert (whole in text) == (details or whole not in left_out)
    assert ("80,100" in text) == details


@pytest.mark.parametrize("width", [40, 60])
@pytest.mark.parametrize("details", [False, True])
def test_on_a_narrower_one_each_row_is_a_block_and_nothing_is_cut(capsys, width, details):
    console = Console(width=width, force_terminal=True, color_system=None, highlight=False)
    rows = (ROW, replace(ROW, name="digits_cnn-onnx-fp32"))
    terminal.print_measurement(measured(*rows), details=details, console=console)
    lines = capsys.readouterr().out.split("Batch 1")[0].splitlines()
    assert max(map(len, lines)) <= width
    text = " ".join(" ".join(lines).split())
    for whole in ("35.8 kB", "p50 11.4 µs", "[15.2, 16.0]", "15.7× faster", "size ratio 2.7× smaller", "valid yes"):
        assert text.count(whole) == 2
    assert (text.count("80,100") == 2) == details
    assert ROW.name.removeprefix("digits_cnn-") in lines


@pytest.mark.parametrize("width", [40, 100])
def test_a_listing_never_cuts_a_name_that_one_has_to_type(capsys, width):
    name = "a_model_of_a_long_name_that_fills_the_line"[:width]
    console = Console(width=width, force_terminal=True, color_system=None, highlight=False)
    rows = [(name, "classification", "what it does, in a sentence that is longer than a line of any terminal " * 2)]
    terminal.listing(("model", "task", "summary"), rows, console=console)
    text = capsys.readouterr().out
    assert name in text
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= width
    assert " ".join(rows[0][2].split()) in " ".join(text.replace(name, "").replace("classification", "").split())


def test_in_a_file_the_caption_stays_one_line_however_long_the_name_of_the_cpu(capsys):
    found = replace(measured(ROW), machine={"cpu": "Intel(R) Xeon(R) Platinum 8481C CPU @ 2.70GHz", "cores": "128"})
    terminal.print_measurement(found)
    [caption] = [line for line in capsys.readouterr().out.splitlines() if line.startswith("Batch 1")]
    assert caption.endswith("Accuracy: the artifact's own, on the validation split, 359 samples.")
    assert len(caption) > terminal.TABLE_WIDTH


def test_the_narrow_table_names_what_decides():
    assert NARROW[0] == "model file"
    assert {"accuracy [95 %]", "cold start", "p50", "speed ratio [95 %]", "valid"} < set(NARROW)
