"""The answers and the disagreements, drawn from what the workers say. A model that fails leaves the page standing."""

from __future__ import annotations

from dataclasses import dataclass

import streamlit as st

from edgekit.edge_runtime.arrays import Arrays
from edgekit.edge_runtime.benchmark.validity import MAX_SPREAD
from edgekit.edge_runtime.bundle.bundle import Bundle
from edgekit.edge_runtime.bundle.golden import GoldenSet
from edgekit.edge_runtime.errors import EdgekitError
from edgekit.edge_runtime.tasks.registry import TASKS, Answer

from . import cached, cards, charts
from . import compare as comparing
from .inputs import Chosen
from .pictures import is_picture, raw_pixels
from .runner import Latency, measure
from .words import markdown, percent

MOST_TILES = 24
MOST_MOVED = 5  # one row
MOST_NUMBERS = 24


@dataclass(frozen=True, kw_only=True)
class _Reply:
    """What one bundle said: its outputs, the task's answer where the task is known, or an error."""

    engine: str | None = None
    outputs: Arrays | None = None
    answer: Answer | None = None
    error: str | None = None


def answers(left: Bundle, right: Bundle, chosen: Chosen | None, golden: GoldenSet) -> None:
    """Both answers to the chosen input: verdict, cards, ratios, and all probabilities in one chart."""
    inputs = (None, None) if chosen is None else (chosen.left, chosen.right)
    replies = _ask(left, inputs[0]), _ask(right, inputs[1])
    failed = any(reply.error for reply in replies)
    if chosen is None:
        st.info("Choose a picture to see what both say about it.", icon=":material/add_photo_alternate:")
    elif replies[0].answer is not None and replies[1].answer is not None:
        st.html(cards.verdict(replies[0].answer, replies[1].answer, chosen.truth))
    slots = [column.empty() for column in st.columns(2, gap="small")]
    sides = list(zip(("left", "right"), (left, right), replies, strict=True))
    for slot, (side, bundle, reply) in zip(slots, sides, strict=True):  # before measuring, which takes a moment
        slot.html(cards.answer_card(side, bundle, reply.answer, None, reply.engine))
    latencies = None if failed else _latencies(left, right, golden)
    for i, (side, bundle, reply) in enumerate(sides):
        latency = latencies[i] if latencies else None
        slots[i].html(cards.answer_card(side, bundle, reply.answer, latency, reply.engine))
    for _, bundle, reply in sides:
        if reply.error:
            st.error(f"{markdown(bundle.name)} gave no answer. {markdown(reply.error)}", icon=":material/error:")
    _measured(_ratios(left, right, latencies), latencies)
    chart = charts.probabilities(replies[0].answer, replies[1].answer)
    if chart is not None:
        st.html(cards.legend(left.name, right.name))
        st.altair_chart(chart, width="stretch", key="probabilities")
    elif replies[0].outputs is not None and replies[0].answer is None:
        _raw(left, replies[0].outputs, replies[1].outputs)


def golden(left: Bundle, right: Bundle, samples: GoldenSet) -> None:
    """All golden samples through both: how many agree, by how much they differ, and which ones."""
    try:
        outputs = cached.golden_answers(left, samples.inputs), cached.golden_answers(right, samples.inputs)
        said = comparing.answers(left.manifest, outputs[0]), comparing.answers(right.manifest, outputs[1])
        if said[0] is None or said[1] is None:
            largest, sqnr = comparing.raw_difference(*outputs)
            figures = {"Golden samples": f"{samples.samples:,}", "Largest difference": f"{largest:.3g}"}
            _totals(figures | {"SQNR, right against left": f"{sqnr:.1f} dB"})
            return
        result = comparing.compare(left.manifest, samples, said[0], said[1])
    except EdgekitError as error:
        st.error(f"The golden samples could not be run. {markdown(error)}", icon=":material/error:")
        return
    count = len(result.samples)
    correct = {f"Correct, {side}": result.correct(side) for side in ("left", "right")}
    _totals(
        {
            "Agree": f"{result.agreeing} of {count}",
            "Agreement": percent(result.agreeing / count),
            "Largest |Δp|": f"{result.largest:.3f}",
            **{name: f"{found} of {count}" for name, found in correct.items() if found is not None},
        }
    )
    pixels = raw_pixels(left.manifest, samples.inputs) if is_picture(left.manifest) else None
    differing = result.disagreements
    if differing:
        shown, more = differing[:MOST_TILES], len(differing) - MOST_TILES
        st.caption("The widest margin first: how much more the left one believed its own answer than the other's.")
        if more > 0:
            st.caption(f"The first {MOST_TILES}; {more} more differ.")
    else:
        shown = result.most_moved[:MOST_MOVED]
        st.caption(f"Nowhere: all {count} golden samples get the same answer. These probabilities moved most:")
    st.html(cards.gallery((sample, None if pixels is None else pixels[sample.index]) for sample in shown))


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
        found = comparing.answers(bundle.manifest, outputs)
        return _Reply(engine=runner.engine, outputs=outputs, answer=found[0] if found else None)
    except EdgekitError as error:
        return _Reply(error=str(error))


def _latencies(left: Bundle, right: Bundle, samples: GoldenSet) -> tuple[Latency, Latency] | None:
    """Measured when a pair is first seen by this visitor, and again on request; time does not depend on the pixels."""
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
            st.error(f"The latency could not be measured. {markdown(error)}", icon=":material/error:")
            return None
    return known[key]


def _measured(ratios: list[tuple[str, str]], latencies: tuple[Latency, Latency] | None) -> None:
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute", key="ratios"):
        st.html(cards.ratios(ratios), width="content")
        st.button("Measure again", key="measure", type="tertiary", icon=":material/refresh:", width="content")
    if latencies:
        st.caption(
            f"Latency was measured at {latencies[0].at:%H:%M:%S} on this machine: batch 1, one thread, both in turns. "
            "`edgekit benchmark` measures longer, and says whether the figures hold."
        )


def _ratios(left: Bundle, right: Bundle, latencies: tuple[Latency, Latency] | None) -> list[tuple[str, str]]:
    before, after = left.manifest.artifact.bytes, right.manifest.artifact.bytes
    found = [comparing.times(before, after, less="smaller", more="larger", same="the same size")]
    if latencies:
        before_ms, after_ms = latencies[0].median_ms, latencies[1].median_ms
        found.append(
            comparing.times(before_ms, after_ms, less="faster", more="slower", same="about as fast", within=MAX_SPREAD)
        )
    worse = ("larger", "slower")
    return [(text, "bad" if text.endswith(worse) else "good" if "×" in text else "even") for text in found]


def _raw(bundle: Bundle, left: Arrays | None, right: Arrays | None) -> None:
    """The first numbers of each output, for a task that has no answer for a person here."""
    task, known = markdown(bundle.manifest.task), bundle.manifest.task in TASKS
    why = f"The task “{task}” answers in numbers" if known else f"This edgekit does not know the task “{task}”"
    st.caption(f"{why}, so these are the plain outputs: at most the first {MOST_NUMBERS} numbers of each.")
    if left is None or right is None:
        return
    for (name, before), after in zip(left.items(), right.values(), strict=False):
        first, second = before.ravel()[:MOST_NUMBERS], after.ravel()[:MOST_NUMBERS]
        if len(first) == len(second):
            st.markdown(f"**{markdown(name)}** {list(before.shape)}")
            st.dataframe({"left": first, "right": second, "difference": second - first}, height="content")
