"""Draws the answers and the disagreements. A model that fails leaves the rest of the page working."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import streamlit as st

from edgekit.edge_runtime.arrays import Arrays
from edgekit.edge_runtime.benchmark.validity import MAX_SPREAD
from edgekit.edge_runtime.bundle.bundle import Bundle
from edgekit.edge_runtime.bundle.golden import GoldenSet
from edgekit.edge_runtime.command_line import EDGEKIT
from edgekit.edge_runtime.errors import EdgekitError
from edgekit.edge_runtime.format import db_text, percent_text, smaller_text, speed_text
from edgekit.edge_runtime.tasks.classification import Answer
from edgekit.edge_runtime.tasks.detection import Detections
from edgekit.edge_runtime.tasks.registry import TASKS

from . import boxes_html, cached, charts, page_html
from . import compare as comparing
from .inputs import Chosen
from .page_html import escape_markdown
from .pictures import is_picture, raw_pixels
from .runner import Latency, measure

MOST_TILES = 24
MOST_MOVED = 5  # one row
MOST_NUMBERS = 24


@dataclass(frozen=True, kw_only=True)
class _Reply:
    """What one bundle replied to the chosen input."""

    engine: str | None = None
    """The library that runs it; None where it could not start."""
    outputs: Arrays | None = None
    """Its outputs."""
    answer: Answer | None = None
    """The answer in them, where the task has labels."""
    found: Detections | None = None
    """What a detector finds, in pixels of its input."""
    error: str | None = None
    """Why there is no answer."""


def answers(left: Bundle, right: Bundle, chosen: Chosen | None, golden: GoldenSet) -> None:
    """Both answers to the chosen input: verdict, cards, ratios, and all probabilities in one chart."""
    inputs = (None, None) if chosen is None else (chosen.left, chosen.right)
    replies = _ask(left, inputs[0]), _ask(right, inputs[1])
    failed = any(reply.error for reply in replies)
    if chosen is None:
        st.info("Choose a picture to see both answers.", icon=":material/add_photo_alternate:")
    elif replies[0].answer is not None and replies[1].answer is not None:
        st.html(page_html.verdict(replies[0].answer, replies[1].answer, chosen.truth))
    elif replies[0].found is not None and replies[1].found is not None:
        same = not comparing.differing(left.manifest, replies[0].outputs or {}, replies[1].outputs or {}).any()
        st.html(boxes_html.verdict(replies[0].found, replies[1].found, same=same))
    slots = [column.empty() for column in st.columns(2, gap="small")]
    sides = list(zip(("left", "right"), (left, right), replies, strict=True))
    drawn = [_drawn(bundle, reply, given) for (_, bundle, reply), given in zip(sides, inputs, strict=True)]
    for slot, (side, bundle, reply), boxes in zip(
        slots, sides, drawn, strict=True
    ):  # before measuring, which takes time
        slot.html(page_html.answer_card(side, bundle, reply.answer, None, reply.engine, boxes))
    latencies = None if failed else _latencies(left, right, golden)
    for i, (side, bundle, reply) in enumerate(sides):
        latency = latencies[i] if latencies else None
        slots[i].html(page_html.answer_card(side, bundle, reply.answer, latency, reply.engine, drawn[i]))
    for _, bundle, reply in sides:
        if reply.error:
            st.error(
                f"{escape_markdown(bundle.name)} gave no answer. {escape_markdown(reply.error)}",
                icon=":material/error:",
            )
    _measured(_ratios(left, right, latencies), latencies)
    chart = charts.probabilities(replies[0].answer, replies[1].answer)
    if chart is not None:
        st.html(page_html.legend(left.name, right.name))
        st.altair_chart(chart, width="stretch", key="probabilities")
    elif replies[0].outputs is not None and replies[0].answer is None and replies[0].found is None:
        _raw(left, replies[0].outputs, replies[1].outputs)


def golden(left: Bundle, right: Bundle, samples: GoldenSet) -> None:
    """All golden samples through both bundles: how many agree, by how much they differ, and which do not agree."""
    try:
        outputs = cached.golden_answers(left, samples.inputs), cached.golden_answers(right, samples.inputs)
        if comparing.found(left.manifest, outputs[0]) is not None:
            _found(left, samples, outputs)
            return
        first, second = comparing.answers(left.manifest, outputs[0]), comparing.answers(right.manifest, outputs[1])
        if first is None or second is None:
            largest, sqnr = comparing.raw_difference(*outputs)
            figures = {"Golden samples": f"{samples.samples:,}", "Largest difference": f"{largest:.3g}"}
            _totals(figures | {"SQNR, right against left": db_text(sqnr)})
            return
        result = comparing.compare(left.manifest, samples, first, second)
    except EdgekitError as error:
        st.error(f"The golden samples could not be run. {escape_markdown(error)}", icon=":material/error:")
        return
    count = len(result.samples)
    correct = {f"Correct, {side}": result.correct(side) for side in ("left", "right")}
    _totals(
        {
            "Agree": f"{result.agreeing} of {count}",
            "Agreement": percent_text(result.agreeing / count),
            "Largest |Δp|": f"{result.largest:.3f}",
            **{name: f"{hits} of {count}" for name, hits in correct.items() if hits is not None},
        }
    )
    pixels = raw_pixels(left.manifest, samples.inputs) if is_picture(left.manifest) else None
    differing = result.disagreements
    if differing:
        shown, more = differing[:MOST_TILES], len(differing) - MOST_TILES
        st.caption(
            "The widest margin first: how much more the left model believes its own answer than the right one's."
        )
        if more > 0:
            st.caption(f"These are the first {MOST_TILES}; {more} more differ.")
    else:
        shown = result.most_moved[:MOST_MOVED]
        st.caption(
            f"Nowhere: both give the same answer to all {count} golden samples. The probabilities differ most here:"
        )
    st.html(page_html.gallery((sample, None if pixels is None else pixels[sample.index]) for sample in shown))


def _drawn(bundle: Bundle, reply: _Reply, inputs: Arrays | None) -> str:
    """A detector's boxes over what it sees; "" for any other task, and before there is an input."""
    if reply.found is None or inputs is None:
        return ""
    pixels = raw_pixels(bundle.manifest, inputs) if is_picture(bundle.manifest) else None
    return boxes_html.drawn(pixels, reply.found)


def _found(left: Bundle, samples: GoldenSet, outputs: tuple[Arrays, Arrays]) -> None:
    """How many golden pictures get the same boxes from both, and those that do not."""
    first, second = (comparing.found(left.manifest, side) for side in outputs)
    assert first is not None
    assert second is not None
    differ = comparing.differing(left.manifest, *outputs)
    count, other = len(differ), int(differ.sum())
    boxes = {
        f"Boxes, {side}": f"{sum(len(one.certain) for one in found):,}"
        for side, found in (("left", first), ("right", second))
    }
    _totals({"Agree": f"{count - other} of {count}", "Agreement": percent_text(1 - other / count)} | boxes)
    st.caption(
        "Both find the same where each box from 50 % on has a partner in the other: of its label, overlapping it by "
        "half. " + ("These pictures differ:" if other else f"They do in all {count} golden pictures.")
    )
    if other and is_picture(left.manifest):
        pixels = raw_pixels(left.manifest, samples.inputs)
        shown = [int(i) for i in np.flatnonzero(differ)[:MOST_MOVED]]
        st.html(boxes_html.gallery((i, pixels[i], first[i], second[i]) for i in shown))


def _totals(figures: dict[str, str]) -> None:
    columns = st.container(key="totals").columns(len(figures))
    for column, (name, value) in zip(columns, figures.items(), strict=True):
        column.metric(name, value)


def _ask(bundle: Bundle, inputs: Arrays | None) -> _Reply:
    try:
        runner = cached.runner(bundle)
        if inputs is None:
            return _Reply(engine=runner.engine)
        outputs = runner.run(inputs)
        known, found = comparing.answers(bundle.manifest, outputs), comparing.found(bundle.manifest, outputs)
        return _Reply(
            engine=runner.engine,
            outputs=outputs,
            answer=known[0] if known else None,
            found=found[0] if found else None,
        )
    except EdgekitError as error:
        return _Reply(error=str(error))


def _latencies(left: Bundle, right: Bundle, samples: GoldenSet) -> tuple[Latency, Latency] | None:
    """Measures a pair when this visitor first sees it, and again on request. The pixels do not change the time."""
    known: dict[tuple[str, ...], tuple[Latency, Latency]] = st.session_state.setdefault("latencies", {})
    key = tuple(part for bundle in (left, right) for part in (str(bundle.source), bundle.manifest.artifact.sha256))
    if key not in known or st.session_state.get("measure"):
        sample = samples.sample(0)
        try:
            with st.spinner("Measuring both …"):
                known[key] = measure(
                    cached.runner(left), sample, cached.runner(right), comparing.renamed(sample, right.manifest)
                )
        except EdgekitError as error:
            st.error(f"The latency could not be measured. {escape_markdown(error)}", icon=":material/error:")
            return None
    return known[key]


def _measured(ratios: list[tuple[str, str]], latencies: tuple[Latency, Latency] | None) -> None:
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute", key="ratios"):
        st.html(page_html.ratios(ratios), width="content")
        st.button("Measure again", key="measure", type="tertiary", icon=":material/refresh:", width="content")
    if latencies:
        st.caption(
            f"Latency measured at {latencies[0].at:%H:%M:%S} on this machine: batch 1, one thread, both in turns. "
            f"`{EDGEKIT} benchmark` measures for longer, and tells whether the figures are valid."
        )


def _ratios(left: Bundle, right: Bundle, latencies: tuple[Latency, Latency] | None) -> list[tuple[str, str]]:
    """What the right bundle gains and loses: the text of each ratio, and whether it is good, bad or even."""
    texts = [smaller_text(left.manifest.artifact.bytes / right.manifest.artifact.bytes)]
    if latencies:
        texts.append(speed_text(latencies[0].median_ms, latencies[1].median_ms, noise=MAX_SPREAD))
    worse = ("larger", "slower")
    return [(text, "bad" if text.endswith(worse) else "good" if "×" in text else "even") for text in texts]


def _raw(bundle: Bundle, left: Arrays | None, right: Arrays | None) -> None:
    """The first numbers of each output, for a task whose answers have no labels."""
    task, known = escape_markdown(bundle.manifest.task), bundle.manifest.task in TASKS
    why = f"The task “{task}” answers in numbers" if known else f"This edgekit does not know the task “{task}”"
    st.caption(f"{why}, so these are the raw outputs, up to {MOST_NUMBERS} numbers of each.")
    if left is None or right is None:
        return
    for (name, before), after in zip(left.items(), right.values(), strict=False):
        first, second = before.ravel()[:MOST_NUMBERS], after.ravel()[:MOST_NUMBERS]
        if len(first) == len(second):
            st.markdown(f"**{escape_markdown(name)}** {list(before.shape)}")
            st.dataframe({"left": first, "right": second, "difference": second - first}, height="content")
