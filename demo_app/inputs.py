"""Where the visitor chooses what both models look at: a golden sample, a file, or the camera. Runs no model."""

from __future__ import annotations

from dataclasses import dataclass

import streamlit as st

from edgekit.edge_runtime.arrays import Arrays
from edgekit.edge_runtime.bundle.bundle import Bundle
from edgekit.edge_runtime.bundle.golden import GoldenSet
from edgekit.edge_runtime.errors import EdgekitError
from edgekit.edge_runtime.preprocess.image import load_image

from . import cards
from .compare import renamed, truth
from .pictures import THUMBNAIL, data_address, is_picture, raw_pixels
from .words import markdown

MOST_THUMBNAILS = 96
SAMPLE, UPLOAD, CAMERA = "Sample", "Upload", "Camera"


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """One input for each bundle, batch axis 1, and the true label where it is known."""

    left: Arrays
    right: Arrays
    truth: str | None


def choose(left: Bundle, right: Bundle, golden: GoldenSet) -> Chosen | None:
    """Draws the input panel; None until there is an input that both bundles can take."""
    pictures = is_picture(left.manifest) and is_picture(right.manifest)
    way: str | None = SAMPLE
    if pictures:
        way = st.segmented_control(
            "Input", [SAMPLE, UPLOAD, CAMERA], default=SAMPLE, required=True, key="way", label_visibility="collapsed"
        )
    else:
        st.caption("These bundles do not take pictures, so their golden samples are what can be tried here.")
    above = st.container()  # what the model sees of a sample stays in view above a long grid
    chosen = _sample(left, right, golden, pictures) if way == SAMPLE else _picture(left, right, way == CAMERA)
    if pictures and chosen is not None:
        alike = left.manifest.preprocessing == right.manifest.preprocessing
        with above if way == SAMPLE else st.container():
            said = "Exactly what the model sees" if alike or way == SAMPLE else "What the left one sees"
            _show_seen(left, chosen.left, said)
            if not alike and way != SAMPLE:
                _show_seen(right, chosen.right, "What the right one sees")
    return chosen


def _sample(left: Bundle, right: Bundle, golden: GoldenSet, pictures: bool) -> Chosen:
    shown = min(golden.samples, MOST_THUMBNAILS)
    captions = [_caption(left, golden, i, pictures) for i in range(shown)]
    st.caption(
        f"Real inputs that travel with the bundle, {'with their true labels' if pictures else 'by number'}."
        + (f" The first {shown} of {golden.samples:,}." if shown < golden.samples else "")
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
    found = golden.sample(int(index or 0))
    return Chosen(left=found, right=renamed(found, right.manifest), truth=truth(left.manifest, golden, int(index or 0)))


def _caption(bundle: Bundle, golden: GoldenSet, index: int, pictures: bool) -> str:
    """A pill's text. Streamlit tells options apart by their text alone, so each holds its number."""
    label = truth(bundle.manifest, golden, index)
    known = "" if label is None else markdown(label)
    if not pictures:
        return f"{index + 1}" + (f" · {known}" if known else "")
    pixels = raw_pixels(bundle.manifest, golden.sample(index))
    return f"![Sample {index + 1}, true label {known or 'unknown'}]({data_address(pixels, longest=THUMBNAIL)}) {known}"


def _picture(left: Bundle, right: Bundle, camera: bool) -> Chosen | None:
    contract, other = left.manifest.preprocessing, right.manifest.preprocessing
    if contract is None or other is None:
        return None
    st.caption(f"It expects {markdown(contract.expects)}.")
    if camera:
        file = st.camera_input("Take a picture", key="camera", label_visibility="collapsed")
    else:
        # No list of types: what a file is, its content says, and what cannot be read gets a message that helps.
        file = st.file_uploader("A picture", key="upload", label_visibility="collapsed")
    invert = st.checkbox(
        "Invert colours", key="invert", help="For dark strokes on light paper, where light is expected."
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
        st.error(markdown(error), icon=":material/broken_image:")
        return None


def _show_seen(bundle: Bundle, inputs: Arrays, caption: str) -> None:
    st.html(cards.seen(raw_pixels(bundle.manifest, inputs), caption))
