"""`report.html`: a measurement as one file that opens anywhere, offline: verdict, table, plots, proofs, next steps.

It fetches no script, no font and no picture. The same measurement always gives the same bytes. Measures nothing.
"""

from __future__ import annotations

from html import escape
from pathlib import Path
from string import Template

from edgekit.edge_runtime.benchmark.measurement import Measurement
from edgekit.edge_runtime.benchmark.rows import Row
from edgekit.edge_runtime.benchmark.table import input_note, warnings
from edgekit.edge_runtime.bundle.manifest import Metric
from edgekit.edge_runtime.bundle.status import stamp_of
from edgekit.edge_runtime.files import write_bytes
from edgekit.edge_runtime.format import (
    bytes_text,
    count_text,
    faster_text,
    kept_text,
    ms_text,
    quality_name,
    smaller_text,
    value_text,
)

from . import parts, plots
from .layers import layers
from .svg import css, marker_polygon
from .verdict import best_row, best_undecided, pareto, slower_than_float

CHAIN = (
    "Every stage ran on real samples and was compared with an earlier one. SQNR is the power of the answers over the "
    "power of their error: at 20 dB the error is a tenth of the answers, at 60 dB a thousandth. A stronger colour "
    "means closer answers."
)
OPERATORS = (
    "An ExecuTorch delegate runs its operators in optimized kernels; all others run in portable ones. In an ONNX file, "
    "MatMulInteger, ConvInteger and QuantizeLinear show where integers are used."
)
LAYERS = (
    "Each layer was quantized on its own, on calibration samples: the shorter the bar, the more int8 damages the "
    "answers. As few as possible of the worst layers stayed in float, to keep the accuracy within its budget."
)
LONGEST_NAME = 34  # characters; plots have no room for more


def write_report(measured: Measurement, path: Path) -> Path:
    """Writes the report to `path`, whole or not at all. Returns `path`."""
    write_bytes(path, render(measured).encode("utf-8", "replace"))
    return path


def render(measured: Measurement) -> str:
    """The report as HTML."""
    rows, best = measured.rows, best_row(measured)
    names = {name: _short(name, measured.model) for name in (*(row.name for row in rows), *measured.stages)}
    legend = plots.Legend.of(rows, names, best.name if best else "")
    color = {exporter: css(color) for exporter, color in legend.colors.items()}
    template = Template(Path(__file__).with_name("template.html").read_text("utf-8"))
    return template.substitute(
        title=escape(f"{measured.model}: edgekit report"),
        over=escape(f"edgekit report · {measured.model}" + (" · best verified bundle" if best else "")),
        winner=escape(_winner(measured, best)),
        summary=escape(_summary(measured)),
        numbers=_numbers(measured, best) if best else "",
        counts=_counts(rows),
        findings=_findings(measured, best),
        table=parts.table(measured, color, legend.best),
        caption=escape(measured.caption()),
        footnotes=parts.paragraphs(warnings(rows), "warning"),
        plots=_plots(measured, legend, color),
        chain=_section("The verified chain", CHAIN, _chain(measured, names)),
        operators=_section("Inside the files", OPERATORS, parts.operators(measured.notes, names)),
        layers=_section("Layers", LAYERS, layers(measured.notes, names)),
        facts=parts.facts(measured),
        commands=parts.commands(measured, best),
        glossary=parts.definitions(parts.GLOSSARY),
    )


def _winner(measured: Measurement, best: Row | None) -> str:
    open_one = best_undecided(measured)
    if best is None and open_one is not None:
        return f"No bundle was verified. The best, {stamp_of(open_one.status).lower()}: {open_one.name}"
    return best.name if best else "No bundle was verified and measured"


def _numbers(measured: Measurement, best: Row) -> str:
    """Three tiles: the share of the accuracy that was kept, the size ratio and the speed ratio."""
    metric = best.judged_metric
    base = next((row for row in measured.rows if row.name == measured.baseline), None)
    of_accuracy = _against_float(metric) if metric else ""
    sizes = f"{bytes_text(best.model_bytes)} against {bytes_text(base.model_bytes)}" if base else ""
    times = f"{ms_text(best.p50_ms)} against {ms_text(base.p50_ms)}" if base else ""
    size, _, smaller = smaller_text(best.times_smaller).partition(" ")
    speed, _, faster = faster_text(best.faster).partition(" ")
    tiles = (
        (kept_text(metric), f"of the float {quality_name(metric)} kept", of_accuracy)
        if metric
        else ("lossless", "no answer differs from the float model's", ""),  # which needs no true answers
        (size or "–", smaller, sizes),
        (
            speed or "–",
            faster if best.faster and best.faster.beyond_noise else f"{faster} no difference beyond noise",
            times,
        ),
    )
    return "".join(
        f"<div><b>{escape(number)}</b><span>{escape(label)}</span><small>{escape(detail)}</small></div>"
        for number, label, detail in tiles
    )


def _against_float(metric: Metric) -> str:
    value, float_value = (value_text(metric.name, number) for number in (metric.value, metric.float_value))
    return f"{value} against {float_value} on {count_text(metric.samples, 'sample')}"


def _summary(measured: Measurement) -> str:
    threads = count_text(measured.settings.num_threads, "thread")
    when = measured.measured_at.replace("T", " ").replace("+00:00", " UTC")
    cpu = measured.machine.get("cpu", "an unknown CPU")
    return f"against {measured.baseline}, batch {measured.batch}, {threads}, on {cpu}, measured {when}"


def _counts(rows: tuple[Row, ...]) -> str:
    """How many bundles have which status, how many failed, and how many measurements are not valid to quote."""
    statuses = [row.status for row in rows]
    counts = [
        ("verified", "good", statuses.count("verified")),
        (stamp_of("consistent"), "", statuses.count("consistent")),
        (stamp_of("undecided"), "", statuses.count("undecided")),
        (stamp_of("unverified"), "bad", statuses.count("unverified")),
        (stamp_of("not_run"), "", statuses.count("not_run")),
        ("not tried", "", statuses.count("not tried")),
        ("refused", "bad", statuses.count("refused")),
        ("failed", "bad", statuses.count("failed")),
        ("not valid to quote", "bad", sum(bool(row.invalid_because) for row in rows)),
    ]
    return "".join(
        f'<span class="{kind if count else "none"}"><b>{count}</b> {label}</span>'
        for label, kind, count in counts
        if count or label in ("verified", stamp_of("unverified"), "failed")
    )


def _findings(measured: Measurement, best: Row | None) -> str:
    """What a reader should not have to find in the plots."""
    findings = ""
    if best and best.times_faster and best.times_faster < 1:
        findings += parts.finding(f"No verified bundle is both smaller and faster than {measured.baseline} here.", [])
    if slower := slower_than_float(measured):
        findings += parts.finding("Quantizing does not pay in these formats: it is slower than float.", slower)
    if best and (note := input_note(best)):
        findings += parts.finding("Medians do not tell all of the best bundle's time.", [note])
    if best and best.invalid_because:
        text = f"The measurement of {best.name} is not valid to quote:"
        findings += parts.finding(text, best.invalid_because)
    return findings


def _plots(measured: Measurement, legend: plots.Legend, color: dict[str, str]) -> str:
    """The cards with plots, without those that have nothing to show."""
    rows = measured.rows
    front = ", ".join(legend.names[row.name] for row in pareto(rows)) or "none"
    wide, narrow = (plots.tradeoff(rows, legend, width=w, height=h) for w, h in ((1120, 440), (540, 460)))
    rss, load = [row.peak_rss_bytes for row in rows], [row.load_ms for row in rows]
    figures = (
        _figure(
            "Latency",
            "All took turns on one machine, so ratios hold even where times drift.",
            plots.latency(rows, legend),
        )
        + _figure(
            "Accuracy",
            "Overlapping intervals prove no difference. Shaded: beyond the gate.",
            plots.accuracy(rows, legend, gate=measured.max_drop),
        )
        + _figure(
            "Peak memory",
            "Of the whole process; for a small model, most of it is the engine.",
            plots.bars(rows, legend, values=rss, text=bytes_text, title="peak RSS"),
        )
        + _figure(
            "Load time",
            "From the file on disk to ready for the first inference.",
            plots.bars(rows, legend, values=load, text=ms_text, title="load time"),
        )
    )
    # Scaled down to a phone, the wide plot would be unreadable. So there are two widths, and CSS shows one.
    both = f'<div class="wide">{wide}</div><div class="narrow">{narrow}</div>' if wide else ""
    text = f"The line joins the bundles that no verified bundle beats in both speed and size: {front}."
    content = (
        f'{_figure("Speed against size", text, both)}<div class="plots">{figures}</div>' if both or figures else ""
    )
    shapes = {recipe: marker_polygon(marker) for recipe, marker in legend.markers.items()}
    key = parts.legend(color, shapes, others=any(row.status == "float" for row in rows))
    return _section("Plots", "", content and f'<div class="legend">{key}</div>{content}')


def _figure(title: str, text: str, content: str) -> str:
    return f"<figure><figcaption><h3>{title}</h3>{escape(text)}</figcaption>{content}</figure>" if content else ""


def _chain(measured: Measurement, names: dict[str, str]) -> str:
    strips = parts.chain(measured.stages, names)
    return strips and f"{strips}{parts.definitions(parts.STAGES)}"


def _section(title: str, lead: str, content: str) -> str:
    """A section with a heading; nothing if it would be empty."""
    return f'<section><h2>{title}</h2><p class="lead">{lead}</p>{content}</section>' if content else ""


def _short(name: str, model: str) -> str:
    """A name as plots write it: without the model's, and with its middle cut out where it is too long."""
    name = name.removeprefix(f"{model}-")
    half = LONGEST_NAME // 2
    return name if len(name) <= LONGEST_NAME else f"{name[: half - 1]}…{name[-half:]}"
