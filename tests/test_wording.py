"""The demo, the table, the report and the terminal say the same of the same measurement, in the same words."""

import datetime
import html
import re

import pytest
from rich.console import Console
from tiny_bundle import change_manifest, make_bundle

from edgekit.cli import terminal
from edgekit.cli.bundles import warn_unverified
from edgekit.cli.report import closing_lines
from edgekit.demo_app.page_html import answer_card
from edgekit.demo_app.panels import _ratios
from edgekit.demo_app.runner import Latency
from edgekit.demo_app.shelf import title
from edgekit.edge_runtime.benchmark.benchmark_result import Settings
from edgekit.edge_runtime.benchmark.measurement import Measurement
from edgekit.edge_runtime.benchmark.rows import Row
from edgekit.edge_runtime.benchmark.table import cells, footnotes, markdown
from edgekit.edge_runtime.bundle.bundle import Bundle
from edgekit.edge_runtime.bundle.status import stamp_of, tone_of, why_of
from edgekit.optimize.report.page import render

FLOAT, INT8 = "quarters-onnx-fp32", "quarters-onnx-w8a8_static"


@pytest.fixture
def opened(tmp_path):
    """A float bundle, and one that is larger: its model file has 3,500 bytes against 1,000."""
    paths = [make_bundle(tmp_path, name=name, recipe=name.split("-")[-1]) for name in (FLOAT, INT8)]
    return [Bundle.open(path) for path in paths]


def row(bundle: Bundle, *, size: int, ms: float, status: str = "verified") -> Row:
    manifest = bundle.manifest
    return Row(
        name=bundle.name, status=status, recipe=manifest.recipe, exporter=manifest.exporter, engine="onnxruntime",
        metric=manifest.metrics[0], model_bytes=size, load_ms=1.0, p50_ms=ms, p90_ms=ms, p99_ms=ms,
        peak_rss_bytes=60_000_000, times_smaller=1000 / size, times_faster=0.5 / ms, times_faster_low=0.49 / ms,
        times_faster_high=0.51 / ms, samples=5000,
    )  # fmt: skip


def measurement(*rows: Row) -> Measurement:
    return Measurement(
        model="quarters", baseline=rows[0].name, rows=rows, stages={}, notes={}, machine={"cpu": "a CPU", "cores": "2"},
        settings=Settings(), measured_at="2026-01-02T03:04:05+00:00",
    )  # fmt: skip


def plain(page: str) -> str:
    """A page as its reader sees it."""
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", page)).split())


def in_terminal(monkeypatch, capsys, measured: Measurement) -> str:
    monkeypatch.setattr(terminal, "out", Console(width=160, force_terminal=True, color_system=None, highlight=False))
    terminal.print_measurement(measured)
    return capsys.readouterr().out


def test_numbers_are_the_same_everywhere(opened, monkeypatch, capsys):
    slower, baseline = row(opened[1], size=3500, ms=0.6), row(opened[0], size=1000, ms=0.5)
    measured = measurement(baseline, slower)
    latency = Latency(median_ms=0.5, p90_ms=0.5, runs=30, at=datetime.datetime(2026, 1, 2))
    card = plain(answer_card("left", opened[0], None, latency, None))
    table, report = markdown(measured.rows, model="quarters"), plain(render(measured))
    shown = in_terminal(monkeypatch, capsys, measured)
    accuracy = cells(baseline, ["model file", "accuracy [95 %]"])[1]
    assert re.fullmatch(r"[\d.]+ % \[[\d.]+, [\d.]+\]", accuracy)
    for text in ("500 µs", accuracy):
        assert [where for where in (card, table, report, shown) if text not in where] == []
    for text in ("3.5× larger", "1.20× slower [1.18, 1.22]"):
        assert [where for where in (table, report, shown) if text not in where] == []
    assert "0.28" not in table + report + shown
    assert "0.83×" not in table + report + shown


def test_the_verdict_of_the_terminal_is_that_of_the_report_and_of_the_demo(opened):
    best, baseline = row(opened[1], size=400, ms=0.25), row(opened[0], size=1000, ms=0.5)
    last = closing_lines(measurement(baseline, best))[0]
    report = plain(render(measurement(baseline, best)))
    assert "2.5× smaller" in last
    assert "2.00× faster [1.96, 2.04]" in last
    assert "2.5× smaller" in report
    assert "2.00× faster [1.96, 2.04]" in report
    now = datetime.datetime(2026, 1, 2)
    latencies = tuple(Latency(median_ms=ms, p90_ms=ms, runs=30, at=now) for ms in (0.5, 0.25))
    assert _ratios(opened[0], opened[1], latencies) == [("same size", "even"), ("2.0× faster", "good")]


@pytest.mark.parametrize("status", ["unverified", "not_run", "undecided", "consistent"])
def test_a_stamp_is_the_same_everywhere(tmp_path, monkeypatch, capsys, status):
    path = make_bundle(tmp_path, name=INT8)
    change_manifest(path, status=status)
    bundle, stamp, why = Bundle.open(path), stamp_of(status), why_of(status)
    card = plain(answer_card("left", bundle, None, None, None))
    measured = measurement(row(bundle, size=1000, ms=0.5, status=status))
    shown = in_terminal(monkeypatch, capsys, measured)
    report = plain(render(measured))
    warn_unverified(bundle.manifest)
    warning = capsys.readouterr().err
    assert [where for where in (card, title(bundle), shown, report, warning) if stamp not in where] == []
    assert [where for where in (shown, warning) if why not in where] == []
    assert any(stamp in note and why in note for note in footnotes(measured.rows))
    if status != "consistent":
        assert f"{INT8} ({stamp})" in cells(measured.rows[0], ["model file", "n"])[0]
        assert why in report
    assert (why.removeprefix("it ") in card) == (tone_of(status) == "bad")
