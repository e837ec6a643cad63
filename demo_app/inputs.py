"""Where the visitor chooses the input for both models: a golden sample, a file, or the camera. Runs no model."""

from __future__ import annotations

from dataclasses import dataclass

import streamlit as st

from edgekit.edge_runtime.arrays import Arrays
from edgekit.edge_runtime.bundle.bundle import Bundle
from edgekit.edge_runtime.bundle.golden import GoldenSet
from edgekit.edge_runtime.errors import EdgekitError
from edgekit.edge_runtime.preprocess.image import load_image

from . import page_html
from .compare import renamed, truth
from .page_html import escape_markdown
from .pictures import THUMBNAIL, data_address, is_picture, raw_pixels

MOST_THUMBNAILS = 96
SAMPLE, UPLOAD, CAMERA = "Sample", "Upload", "Camera"


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """The chosen input."""

    left: Arrays
    """The input for the left bundle, batch axis 1."""
    right: Arrays
    """The input for the right bundle, batch axis 1."""
    truth: str | None
    """The true label; None where it is unknown."""


def choose(left: Bundle, right: Bundle, golden: GoldenSet) -> Chosen | None:
    """Draws the input panel; returns None until there is an input for both bundles."""
    pictures = is_picture(left.manifest) and is_picture(right.manifest)
    way: str | None = SAMPLE
    if pictures:
        way = st.segmented_control(
            "Input", [SAMPLE, UPLOAD, CAMERA], default=SAMPLE, required=True, key="way", label_visibility="collapsed"
        )
    else:
        st.caption("These bundles do not take pictures, so the choice is among their golden samples.")
    above = st.container()  # keeps what the model sees of a sample in view, above a long grid
    chosen = _sample(left, right, golden, pictures) if way == SAMPLE else _picture(left, right, way == CAMERA)
    if pictures and chosen is not None:
        alike = left.manifest.preprocessing == right.manifest.preprocessing
        with above if way == SAMPLE else st.container():
            caption = "Exactly what the model sees" if alike or way == SAMPLE else "What the left model sees"
            _show_input(left, chosen.left, caption)
            if not alike and way != SAMPLE:
                _show_input(right, chosen.right, "What the right model sees")
    return chosen


def _sample(left: Bundle, right: Bundle, golden: GoldenSet, pictures: bool) -> Chosen:
    shown = min(golden.samples, MOST_THUMBNAILS)
    captions = [_caption(left, golden, i, pictures) for i in range(shown)]
    labelled = pictures and truth(left.manifest, golden, 0) is not None
    st.caption(
        f"Real inputs from the bundle{', with their true labels' if labelled else '' if pictures else ', by number'}."
        + (f" These are the first {shown} of {golden.samples:,}." if shown < golden.samples else "")
    )
    with st.container(key="grid", height=300 if shown > 40 else "content"):
        index = st.pills(
            "Golden sample",
            range(shown),
            format_func=captions.__getitem__,
            default=0,
            required=True,
            key="sample",
            label_visibility="collapsed",
            width="stretch",
        )
    sample = golden.sample(int(index or 0))
    known = truth(left.manifest, golden, int(index or 0))
    return Chosen(left=sample, right=renamed(sample, right.manifest), truth=known)


def _caption(bundle: Bundle, golden: GoldenSet, index: int, pictures: bool) -> str:
    """A pill's text. It holds the sample's number, since Streamlit tells options apart only by their text."""
    label = truth(bundle.manifest, golden, index)
    known = "" if label is None else escape_markdown(label)
    if not pictures:
        return f"{index + 1}" + (f" · {known}" if known else "")
    pixels = raw_pixels(bundle.manifest, golden.sample(index))
    return f"![Sample {index + 1}, true label {known or 'unknown'}]({data_address(pixels, longest=THUMBNAIL)}) {known}"


def _picture(left: Bundle, right: Bundle, camera: bool) -> Chosen | None:
    contract, other = left.manifest.preprocessing, right.manifest.preprocessing
    if contract is None or other is None:
        return None
    st.caption(f"The model expects {escape_markdown(contract.expects)}.")
    if camera:
        file = st.camera_input("Take a picture", key="camera", label_visibility="collapsed")
    else:
        # No list of types: the content tells what a file is, and one that cannot be read gets a helpful message.
        file = st.file_uploader("A picture", key="upload", label_visibility="collapsed")
    invert = st.checkbox(
        "Invert colours", key="invert", help="For dark strokes on light paper, if the model expects light strokes."
    )
    if file is None:
        return None
    raw = file.getvalue()
    try:
        return Chosen(
            left={left.manifest.inputs[0].name: load_image(raw, contract, invert=invert)},
            right={right.manifest.inputs[0].name: load_image(raw, other, invert=invert)},
            truth=None,
        )
    except EdgekitError as error:
        st.error(escape_markdown(error), icon=":material/broken_image:")
        return None


def _show_input(bundle: Bundle, inputs: Arrays, caption: str) -> None:
    st.html(page_html.model_input(raw_pixels(bundle.manifest, inputs), caption))
