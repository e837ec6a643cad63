"""The report: what it says is what was measured, whatever was measured; nothing in it runs or is fetched."""

import re
from dataclasses import replace
from html import escape
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from edgekit.cli.report import closing_lines, next_commands, report
from edgekit.edge_runtime.benchmark.benchmark_result import Settings
from edgekit.edge_runtime.benchmark.measurement import Measurement
from edgekit.edge_runtime.benchmark.rows import Row
from edgekit.edge_runtime.benchmark.table import WIDE
from edgekit.edge_runtime.bundle.manifest import Metric, StageResult
from edgekit.edge_runtime.command_line import EDGEKIT
from edgekit.edge_runtime.decode import canonical_json, to_plain
from edgekit.edge_runtime.errors import UsageError
from edgekit.edge_runtime.statistics.sum_metrics import F1, detection_rows
from edgekit.optimize.gate import judge_metric
from edgekit.optimize.report.page import render, write_report
from edgekit.optimize.report.parts import GLOSSARY
from edgekit.optimize.report.verdict import best_row, pareto, slower_than_float
from edgekit.optimize.ruling import Budget

PASSED = StageResult(
    stage="quantize", compared_with="capture", max_abs=0.01, relative=0.01, sqnr_db=41.5, agreement=0.99,
    held_to="SQNR >= 20 dB, agreement >= 90%", passed=True,
)  # fmt: skip


def metric(value: float) -> Metric:
    return Metric(
        name="accuracy",
        value=value,
        low=value - 0.01,
        high=value + 0.005,
        samples=359,
        float_value=0.98,
        agreement=0.99,
    )


def row(name: str, *, ms: float = 0.1, size: int = 100_000, status: str = "verified", **more) -> Row:
    exporter, _, recipe = name.rpartition("-")
    found = Row(
        name=name, status=status, recipe=recipe, exporter=exporter, engine="engine 1.0", metric=metric(0.97),
        model_bytes=size, load_ms=12.0, p50_ms=ms, p90_ms=ms * 1.1, p99_ms=ms * 2, peak_rss_bytes=60_000_000,
        times_smaller=100_000 / size, times_faster=0.1 / ms, times_faster_low=0.099 / ms, times_faster_high=0.101 / ms,
        samples=5000, percentiles_ms=tuple(ms * (0.9 + q / 500) for q in range(101)),
    )  # fmt: skip
    return replace(found, **more)


def measured(*rows: Row, **more) -> Measurement:
    return Measurement(
        model="digits_cnn", baseline="PyTorch eager", rows=rows,
        stages={r.name: (PASSED,) for r in rows if not r.error}, notes={},
        machine={"cpu": "a CPU", "cores": "2", "isa": "avx2", "system": "Linux", "python": "3.11"},
        settings=Settings(), measured_at="2026-01-02T03:04:05+00:00", **more,
    )  # fmt: skip


EAGER = row("PyTorch eager", status="float", exporter="PyTorch eager", recipe="fp32")
FLOAT, INT8 = row("onnx-fp32", ms=0.04), row("onnx-w8a8_static", ms=0.05, size=30_000)
FAILED = Row(name="onnx-w4", status="failed", recipe="w4", exporter="onnx", error="stage 'lower' is wrong")
MEASURED = measured(EAGER, FLOAT, INT8, FAILED)


class Elements(HTMLParser):
    """Every start tag with its attributes, and the tags that were left open."""

    def __init__(self, text: str):
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_verdict_is_three_numbers_the_same_as_the_commands_last_lines(tmp_path):
    text = write_report(MEASURED, tmp_path / "report.html").read_text("utf-8")
    last = closing_lines(MEASURED)[0]
    assert re.findall(r"<div><b>([^<]+)</b>", text) == ["99.0 %", "3.3×", "2.00×"]
    assert all(number in last for number in ("99.0 %", "3.3×", "2.00×"))
    assert "[1.98, 2.02]" in text
    assert "[1.98, 2.02]" in last


def test_a_time_that_depends_on_the_input_stands_beside_the_headline():
    slow = replace(INT8, inputs=32, p90_inputs_ms=2.1, slow_inputs=52.0)
    said = "onnx-w8a8_static: its time depends on the input: the slowest tenth of 32 inputs takes 52× the CPU time"
    assert said in closing_lines(measured(EAGER, slow))[1]
    assert said in render(measured(EAGER, slow))
    assert said not in "".join(closing_lines(MEASURED)) + render(MEASURED)


def test_the_best_on_another_engine_says_how_to_run_it():
    best = replace(INT8, name="onnx-w8a8_static@openvino")
    lines = closing_lines(measured(EAGER, best))
    assert "onnx-w8a8_static@openvino" in lines[0]
    assert lines[1] == '[dim]Run it with load_engine(bundle, engine="openvino"); the bundle is onnx-w8a8_static[/dim]'


def test_every_row_has_its_line_and_every_column_its_sentence():
    text = render(MEASURED)
    assert all(f"{name}</th>" in text for name in ("PyTorch eager", "onnx-fp32", "onnx-w8a8_static", "onnx-w4"))
    assert "failed: stage &#x27;lower&#x27; is wrong" in text
    assert "41.5 dB" in text
    assert tuple(GLOSSARY) == WIDE
    assert all(escape(sentence) in text for sentence in GLOSSARY.values())
    assert text.count("<svg") == 6  # the first plot is there in two widths


def test_it_is_well_formed_fetches_nothing_and_runs_nothing():
    elements = Elements(render(MEASURED))
    assert elements.open == []
    assert {tag for tag, _ in elements.found} & {"script", "link", "img", "iframe", "object", "embed", "base"} == set()
    targets = [a[key] for _, a in elements.found for key in ("src", "href", "xlink:href", "data", "action") if key in a]
    assert all(target.startswith("#") for target in targets)
    assert re.findall(r"https?://|@import|url\((?!#)", render(MEASURED)) == []


def test_what_others_wrote_is_text():
    evil = "<script>alert(1)</script>\"'$x$-->"
    noted = {evil: {"outside_delegate": evil, "delegated_operators": evil, "data": evil, "weights_sha256": evil}}
    by = {"exporter": evil, "engine": evil, "metric": replace(metric(0.97), name=evil)}
    bad = measured(
        row(f"{evil}1", ms=0.2, recipe="fp32", **by),
        row(
            f"{evil}2", ms=0.4, size=9, recipe=evil, invalid_because=(evil,), **by
        ),  # best, not valid, slower than float
        row(f"{evil}3", status="unverified", recipe=evil, **by),
        replace(FAILED, name=f"{evil}4", error=evil, exporter=evil, recipe=evil),
    )
    machine = dict.fromkeys(bad.machine, evil)
    stages = {evil: (replace(PASSED, stage=evil, compared_with=evil, held_to=evil),)}
    elements = Elements(render(replace(bad, model=evil, baseline=evil, notes=noted, machine=machine, stages=stages)))
    assert elements.open == []
    assert [tag for tag, _ in elements.found if tag == "script"] == []
    assert [key for _, attributes in elements.found for key in attributes if key.startswith("on")] == []


def test_the_same_measurement_gives_the_same_bytes(tmp_path):
    first, second = (write_report(MEASURED, tmp_path / name).read_bytes() for name in ("a.html", "b.html"))
    assert first == second


def bare(name: str) -> Row:
    return row(name, metric=None, load_ms=None, peak_rss_bytes=None, percentiles_ms=(), times_faster=None)


@pytest.mark.parametrize(
    ("rows", "plots"),
    [
        ([], 0),
        ([FAILED, replace(FAILED, name="onnx-w2")], 0),
        ([INT8], 6),
        ([EAGER], 6),
        ([bare("a-fp32"), bare("b-w8")], 3),
        ([row("a-fp32", status="unverified", invalid_because=("too noisy: measure longer",))], 6),
        ([row("a-fp32", ms=1e-6, size=1), row("b-fp32", ms=1e7, size=10**12), row("c-w8", p50_ms=0.0)], 6),
        ([row(f"exporter{i % 7}-recipe{i}", ms=0.01 * (i + 1), size=1000 * (40 - i)) for i in range(30)], 6),
        ([row("x" * 200 + "-w8", engine=""), row("漢字\u0000\n-fp32")], 6),
    ],
    ids=["none", "failed", "one", "eager", "bare", "unverified", "magnitudes", "thirty", "names"],
)
@pytest.mark.filterwarnings("ignore:Glyph")
def test_it_renders_whatever_was_measured(rows, plots):
    text = render(measured(*rows))
    assert Elements(text).open == []
    assert text.count("<svg") == plots


def test_a_measurement_without_a_winner_says_so():
    text = render(measured(FAILED))
    assert "No bundle was verified and measured" in text
    assert "edgekit optimize digits_cnn --exporter onnx --recipe w4 --allow-unverified" in text


def test_what_missed_its_gate_ends_with_the_command_that_goes_on():
    missed, place = (
        "accuracy lost 9.00 points. Nothing was written. --max-drop allows more",
        Path("my runs/results.json"),
    )
    int8 = row("onnx-w8a8_static", status="refused", error=missed)
    tuned, mixed = (replace(int8, name=f"onnx-{name}", recipe=name) for name in ("w8a8_tuned", "mixed"))
    again = f"{EDGEKIT} optimize --from 'my runs/results.json' --exporter onnx --recipe"
    assert next_commands(measured(EAGER, int8), place) == [f"onnx-w8a8_static. Next: {again} w8a8_tuned"]
    assert next_commands(measured(int8, tuned), place)[0].endswith("--recipe mixed")
    assert next_commands(measured(int8, tuned, mixed), place)[0].endswith("--recipe w8a8_static --allow-unverified")
    library = replace(int8, status="failed", error="onnx cannot do this: no operator")
    assert next_commands(measured(library), place) == [f"onnx-w8a8_static. Next: {EDGEKIT} doctor digits_cnn"]
    assert next_commands(measured(EAGER), place) == []


def test_what_is_slower_than_float_is_said():
    assert slower_than_float(MEASURED) == [
        "onnx w8a8_static is 1.2× slower than onnx fp32 on this machine (50 µs against 40 µs); "
        "its file has 30 kB against 100 kB."
    ]
    assert slower_than_float(measured(FLOAT, row("onnx-w8a8_static", ms=0.0401))) == []  # within the noise
    assert "Quantizing does not pay" in render(MEASURED)
    assert "Quantizing does not pay" not in render(measured(EAGER, FLOAT))


def test_the_best_is_verified_and_the_front_is_unbeaten():
    unverified = row("onnx-w1", ms=0.001, size=10, status="unverified")
    assert best_row(measured(EAGER, FLOAT, INT8, unverified)) == INT8
    assert best_row(measured(EAGER, FAILED)) is None
    assert pareto([EAGER, FLOAT, INT8, unverified, row("slow-w8", ms=0.06, size=40_000)]) == [FLOAT, INT8]


def test_the_command_puts_it_beside_the_results(tmp_path, capsys):
    (tmp_path / "results.json").write_bytes(canonical_json(to_plain(MEASURED)))
    report(tmp_path / "results.json", None)
    assert (tmp_path / "report.html").read_text("utf-8") == render(MEASURED)
    assert "report.html" in capsys.readouterr().out.replace("\n", "")


@pytest.mark.parametrize("content", [b"", b"[]", b'{"rows": 3}', b"\xff"])
def test_a_broken_results_file_is_wrong_usage(tmp_path, content):
    path = tmp_path / "results.json"
    path.write_bytes(content)
    with pytest.raises(UsageError, match="is not a measurement"):
        report(path, None)
    with pytest.raises(UsageError, match="cannot read"):
        report(tmp_path / "missing.json", None)


def test_the_headline_is_of_the_metric_that_the_verdict_is_about():
    found = detection_rows(np.ones(2000, bool), np.ones(2000, bool))
    verdict = replace(judge_metric(F1, found, found, Budget()), float_value=0.91, value=0.9)
    page = measured(EAGER, row("digits_cnn-onnx-w8a8_static", ms=0.05, verdict=verdict))
    assert "98.9 %[/bold] of the float F1 kept" in closing_lines(page)[0]
    assert "0.9 against 0.91 on 359 samples" in render(page)


def test_rows_of_another_engine_do_not_keep_the_best_bundle_from_being_recommended():
    one = detection_rows(np.ones(2000, bool), np.ones(2000, bool))
    verdict = judge_metric(F1, one, one, Budget())
    int8 = row("digits_cnn-onnx-w8a8_static", ms=0.05, size=30_000, verdict=verdict, best_of=1)
    other = replace(int8, name=f"{int8.name}@openvino", best_of=0, times_faster=3.0, p50_ms=0.03)
    lossless = row("digits_cnn-onnx-fp32", ms=0.04)
    assert best_row(measured(EAGER, lossless, other, int8)) == int8
    assert best_row(measured(EAGER, lossless, other, replace(int8, best_of=0))) == lossless
