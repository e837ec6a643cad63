"""The page's own HTML: answer cards, verdict, thumbnails. Values to text; every foreign text is escaped."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from edgekit.edge_runtime.bundle.bundle import Bundle
from edgekit.edge_runtime.bundle.status import stamp_of, tone_of, why_of
from edgekit.edge_runtime.tasks.registry import Answer

from .compare import SampleComparison
from .pictures import THUMBNAIL, data_address
from .runner import Latency
from .words import html, metric, milliseconds, percent, size

HEADER = (
    '<div class="ek-header"><p class="ek-brand">edgekit</p><h1>Full against quantized</h1>'
    "<p>One input, two bundles of the same model, both run on this machine just now.</p></div>"
)


def answer_card(side: str, bundle: Bundle, answer: Answer | None, latency: Latency | None, engine: str | None) -> str:
    """One bundle: its answer large, its measured and recorded figures below. `side` is "left" or "right"."""
    manifest = bundle.manifest
    if answer is None:
        headline = '<div class="ek-answer ek-none">no answer yet</div>'
    else:
        headline = (
            f'<div class="ek-answer"><span class="ek-label" data-testid="label-{side}">{html(answer.label)}</span>'
            f'<span class="ek-probability" data-testid="probability-{side}">{percent(answer.probability)}</span></div>'
        )
    facts = [
        ("Latency now", *_latency(latency)),
        ("Model file", size(manifest.artifact.bytes), manifest.artifact.format),
        *(
            (m.name.capitalize(), metric(m), f"95 % interval, {m.samples:,} validation samples")
            for m in manifest.metrics
        ),
    ]
    if not manifest.metrics:
        facts.append(("Accuracy", "not measured", "when it was packed"))
    rows = "".join(
        f"<dt>{html(name)}</dt><dd>{html(value)}<small>{html(note)}</small></dd>" for name, value, note in facts
    )
    is_bad, why = tone_of(manifest.status) == "bad", why_of(manifest.status)
    warning = (
        f'<div class="ek-unverified" role="alert"><b>{html(stamp_of(manifest.status))}</b> '
        f"{html(why[:1].upper() + why[1:])}. Do not trust its answers.</div>"
        if is_bad
        else ""
    )
    seal = "" if is_bad else f'<span class="ek-seal">{html(manifest.status)}</span>'
    return (
        f'<article class="ek-card ek-{side}" data-testid="card-{side}">{warning}'
        f'<header><span class="ek-name">{html(bundle.name)}</span>{seal}</header>'
        f'<p class="ek-how">{html(manifest.recipe)} · {html(engine or manifest.exporter)}</p>'
        f"{headline}<dl>{rows}</dl></article>"
    )


def _latency(latency: Latency | None) -> tuple[str, str]:
    if latency is None:
        return "–", "not measured"
    return milliseconds(latency.median_ms), f"median of {latency.runs:,} runs, p90 {milliseconds(latency.p90_ms)}"


def verdict(left: Answer, right: Answer, truth: str | None) -> str:
    """Whether both say the same about this input, in one plain sentence."""
    agree = left.label == right.label
    if agree:
        text = f"Both say {html(left.label)}"
        after = (
            "" if truth is None else (", and so it is." if truth == left.label else f". In truth it is {html(truth)}.")
        )
    else:
        text = f"They disagree: {html(left.label)} against {html(right.label)}"
        after = "" if truth is None else f". In truth it is {html(truth)}."
    kind = "ek-agree" if agree else "ek-disagree"
    return f'<div class="ek-verdict {kind}" data-testid="verdict" role="status"><b>{text}</b>{after or "."}</div>'


def ratios(parts: Iterable[tuple[str, str]]) -> str:
    """What the right one wins and loses against the left one: (words, "good" | "bad" | "even") each."""
    items = "".join(f'<span class="ek-{kind}">{html(words)}</span>' for words, kind in parts)
    return f'<div class="ek-ratios" data-testid="ratios">Right against left {items}</div>'


def legend(left: str, right: str) -> str:
    """The title of the chart, and which colour is which bundle; it wraps on a phone, as a chart's legend would not."""
    return (
        f'<div class="ek-legend"><b>Probabilities</b><span class="ek-left">{html(left)}</span>'
        f'<span class="ek-right">{html(right)}</span></div>'
    )


def seen(pixels: np.ndarray, caption: str) -> str:
    """The exact picture a model gets, enlarged without smoothing."""
    height, width = pixels.shape[-3:-1]
    return (
        f'<figure class="ek-seen"><img data-testid="seen" src="{data_address(pixels)}" alt="What the model sees">'
        f"<figcaption>{html(caption)}<br>{width} × {height} pixels</figcaption></figure>"
    )


def gallery(samples: Iterable[tuple[SampleComparison, np.ndarray | None]]) -> str:
    """Golden samples with both answers, as small cards; `None` stands for an input that is no picture."""
    return f'<div class="ek-gallery">{"".join(_tile(sample, pixels) for sample, pixels in samples)}</div>'


def _tile(sample: SampleComparison, pixels: np.ndarray | None) -> str:
    image = (
        f'<div class="ek-noimage">{sample.index + 1}</div>'
        if pixels is None
        else f'<img src="{data_address(pixels, longest=2 * THUMBNAIL)}" alt="Sample {sample.index + 1}">'
    )
    lines = "".join(
        f'<span class="ek-{side}">{html(answer.label)} <small>{percent(answer.probability)}</small></span>'
        for side, answer in (("left", sample.left), ("right", sample.right))
    )
    known = "" if sample.truth is None else f"<small>true: {html(sample.truth)}</small>"
    return f'<div class="ek-tile" data-testid="tile">{image}<div>{lines}{known}</div></div>'
