"""The page's own HTML: answer cards, verdict, thumbnails; and the escaping of foreign text, which is never trusted.

Not called `html`: Streamlit puts this folder on the path of its process, where that name is Python's.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from html import escape

import numpy as np

from edgekit.edge_runtime.bundle.bundle import Bundle
from edgekit.edge_runtime.bundle.status import stamp_of, tone_of, why_of
from edgekit.edge_runtime.format import bytes_text, count_text, metric_name, metric_text, ms_text, percent_text
from edgekit.edge_runtime.tasks.classification import Answer

from .compare import SampleComparison
from .pictures import THUMBNAIL, data_address
from .runner import Latency

_MARKUP = re.compile(r"([\\`*_{}\[\]()<>#+\-.!|~$:^=&])")

HEADER = (
    '<div class="ek-header"><p class="ek-brand">edgekit</p><h1>Full against quantized</h1>'
    "<p>One input, two bundles of the same model, both running on this machine.</p></div>"
)


def escape_html(text: object) -> str:
    """Text for the inside of HTML, attributes included."""
    return escape(str(text), quote=True)


def escape_markdown(text: object) -> str:
    """Text for Streamlit's markdown, where a label such as `![x](http://…)` would otherwise fetch something."""
    return _MARKUP.sub(r"\\\1", " ".join(str(text).split()))


def answer_card(
    side: str, bundle: Bundle, answer: Answer | None, latency: Latency | None, engine: str | None, boxes: str = ""
) -> str:
    """One bundle: its answer in large type, its measured and recorded figures below.

    Args:
        side: "left" or "right".
        boxes: HTML that shows the answer of a detector, in place of `answer`.
    """
    manifest = bundle.manifest
    if boxes:
        headline = boxes
    elif answer is None:
        headline = '<div class="ek-answer ek-none">no answer yet</div>'
    else:
        label, probability = escape_html(answer.label), escape_html(percent_text(answer.probability))
        headline = (
            f'<div class="ek-answer"><span class="ek-label" data-testid="label-{side}">{label}</span>'
            f'<span class="ek-probability" data-testid="probability-{side}">{probability}</span></div>'
        )
    facts = [
        ("Latency now", *_latency(latency)),
        ("Model file", bytes_text(manifest.artifact.bytes), manifest.artifact.format),
        *(
            (
                metric_name(metric.name).capitalize(),
                metric_text(metric),
                f"95 % interval, {count_text(metric.samples, 'validation sample')}",
            )
            for metric in manifest.metrics
        ),
    ]
    if not manifest.metrics:
        facts.append(("Accuracy", "not measured", "when it was packed"))
    rows = "".join(
        f"<dt>{escape_html(name)}</dt><dd>{escape_html(value)}<small>{escape_html(note)}</small></dd>"
        for name, value, note in facts
    )
    stamp, why, warning = stamp_of(manifest.status), why_of(manifest.status), ""
    kind = "ek-seal ek-partly" if stamp else "ek-seal"
    seal = f'<span class="{kind}" title="{escape_html(why)}">{escape_html(stamp or "verified")}</span>'
    if tone_of(manifest.status) == "bad":
        seal = ""
        warning = (
            f'<div class="ek-unverified" role="alert"><b>{escape_html(stamp)}</b> '
            f"{escape_html(why[:1].upper() + why[1:])}. Do not trust its answers.</div>"
        )
    return (
        f'<article class="ek-card ek-{side}" data-testid="card-{side}">{warning}'
        f'<header><span class="ek-name">{escape_html(bundle.name)}</span>{seal}</header>'
        f'<p class="ek-how">{escape_html(manifest.recipe)} · {escape_html(engine or manifest.exporter)}</p>'
        f"{headline}<dl>{rows}</dl></article>"
    )


def _latency(latency: Latency | None) -> tuple[str, str]:
    if latency is None:
        return "–", "not measured"
    return ms_text(latency.median_ms), f"median of {count_text(latency.runs, 'run')}, p90 {ms_text(latency.p90_ms)}"


def verdict(left: Answer, right: Answer, truth: str | None) -> str:
    """Whether both give the same answer to this input, in one plain sentence."""
    agree = left.label == right.label
    if agree:
        text = f"Both say {escape_html(left.label)}"
        after = ""
        if truth is not None:
            after = ", which is correct." if truth == left.label else f". The true label is {escape_html(truth)}."
    else:
        text = f"They disagree: {escape_html(left.label)} against {escape_html(right.label)}"
        after = "" if truth is None else f". The true label is {escape_html(truth)}."
    kind = "ek-agree" if agree else "ek-disagree"
    return f'<div class="ek-verdict {kind}" data-testid="verdict" role="status"><b>{text}</b>{after or "."}</div>'


def ratios(parts: Iterable[tuple[str, str]]) -> str:
    """What the right bundle gains and loses against the left one: (text, "good" | "bad" | "even") each."""
    items = "".join(f'<span class="ek-{kind}">{escape_html(text)}</span>' for text, kind in parts)
    return f'<div class="ek-ratios" data-testid="ratios">Right against left {items}</div>'


def legend(left: str, right: str) -> str:
    """The chart's title, and which colour is which bundle. It wraps on a phone; a chart's own legend would not."""
    return (
        f'<div class="ek-legend"><b>Probabilities</b><span class="ek-left">{escape_html(left)}</span>'
        f'<span class="ek-right">{escape_html(right)}</span></div>'
    )


def model_input(pixels: np.ndarray, caption: str) -> str:
    """The exact picture that a model gets, enlarged without smoothing."""
    height, width = pixels.shape[-3:-1]
    return (
        f'<figure class="ek-seen"><img data-testid="seen" src="{data_address(pixels)}" alt="What the model sees">'
        f"<figcaption>{escape_html(caption)}<br>{width} × {height} pixels</figcaption></figure>"
    )


def gallery(samples: Iterable[tuple[SampleComparison, np.ndarray | None]]) -> str:
    """Golden samples with both answers, as small cards; `None` stands for an input that is not a picture."""
    return f'<div class="ek-gallery">{"".join(_tile(sample, pixels) for sample, pixels in samples)}</div>'


def _tile(sample: SampleComparison, pixels: np.ndarray | None) -> str:
    image = (
        f'<div class="ek-noimage">{sample.index + 1}</div>'
        if pixels is None
        else f'<img src="{data_address(pixels, longest=2 * THUMBNAIL)}" alt="Sample {sample.index + 1}">'
    )
    lines = "".join(
        f'<span class="ek-{side}">{escape_html(answer.label)} '
        f"<small>{escape_html(percent_text(answer.probability))}</small></span>"
        for side, answer in (("left", sample.left), ("right", sample.right))
    )
    known = "" if sample.truth is None else f"<small>true label: {escape_html(sample.truth)}</small>"
    return f'<div class="ek-tile" data-testid="tile">{image}<div>{lines}{known}</div></div>'
