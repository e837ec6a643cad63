"""The page: choose two bundles and an input, see both answers side by side.

`streamlit run demo_app/app.py -- BUNDLES FORMAT…`: the folder, and the formats that may run code from their files.
Models run in worker processes (`runner`); this process imports no engine and survives whatever they do.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import streamlit as st

from edgekit.demo_app import cached, cards, panels, pictures
from edgekit.demo_app.compare import same_golden, why_not_comparable
from edgekit.demo_app.inputs import choose
from edgekit.demo_app.shelf import Shelf, default_pair, read_shelf, title
from edgekit.demo_app.words import markdown
from edgekit.edge_runtime.bundle.bundle import Bundle
from edgekit.edge_runtime.errors import EdgekitError


def main(folder: Path, allow: Sequence[str] = ()) -> None:
    """Draws the whole page for the bundles of `folder`; `allow` names formats that may run code from their files."""
    st.set_page_config(page_title="edgekit demo", page_icon=pictures.icon(), layout="wide")
    st.html(Path(__file__).with_name("style.css"))
    st.html(cards.HEADER)
    try:
        shelf = read_shelf(folder, cached.open_bundle, allow=allow)
    except EdgekitError as error:
        st.error(markdown(error))
        return
    pair = _choose_pair(shelf, folder)
    _list_refused(shelf)
    if pair is None:
        return
    try:
        _compare(*pair)
    except EdgekitError as error:
        st.error(markdown(error))


def _choose_pair(shelf: Shelf, folder: Path) -> tuple[Bundle, Bundle] | None:
    if not shelf.models:
        st.error(
            f"No readable bundle in {markdown(folder)}. `edgekit quickstart` makes some, in bundles/.",
            icon=":material/inventory_2:",
        )
        return None
    first, second, third = st.columns([2, 3, 3], gap="medium")
    model = first.selectbox("Model", list(shelf.models), key="model")
    bundles = {str(bundle.source): bundle for bundle in shelf.models[str(model)]}
    names = list(bundles)
    left, right = default_pair(list(bundles.values()))

    def label(source: str) -> str:
        return title(bundles[source]) if source in bundles else source

    a = second.selectbox("Left: the full model", names, index=left, format_func=label, key="left")
    b = third.selectbox("Right: the quantized one", names, index=right, format_func=label, key="right")
    # A choice that belongs to another model can arrive for one run after the model was changed.
    return bundles.get(str(a), bundles[names[left]]), bundles.get(str(b), bundles[names[right]])


def _list_refused(shelf: Shelf) -> None:
    if not shelf.refused:
        return
    count = len(shelf.refused)
    name = "1 bundle in this folder was refused" if count == 1 else f"{count} bundles in this folder were refused"
    with st.expander(name, icon=":material/gpp_bad:", key="refused"):
        for refused in shelf.refused:
            st.markdown(f"**{markdown(refused.path.name)}**: {markdown(refused.reason)}")


def _compare(left: Bundle, right: Bundle) -> None:
    reason = why_not_comparable(left, right)
    if reason is not None:
        st.warning(f"These two cannot be fed the same samples: {markdown(reason)}. Choose two others.")
        return
    golden = cached.golden(left)
    input_column, answer_column = st.columns([5, 9], gap="large")
    with input_column:
        st.subheader("Input", anchor=False)
        chosen = choose(left, right, golden)
    with answer_column:
        st.subheader("Answers", anchor=False)
        panels.answers(left, right, chosen, golden)
    st.divider()
    st.subheader("Where they disagree", anchor=False)
    if same_golden(golden, cached.golden(right)):
        panels.golden(left, right, golden)
    else:
        st.info("The two bundles carry different golden samples, so there is no common set to go through.")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "bundles"), sys.argv[2:])
