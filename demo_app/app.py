"""The page: choose two bundles and an input, see both answers side by side.

`streamlit run demo_app/app.py -- BUNDLES [--key=PUBLIC.pem] FORMAT…` takes the folder, the key that every bundle must
be signed for, and the formats that may run code from their files.
Models run in worker processes (`runner`). This process imports no engine, and survives whatever the models do.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import streamlit as st

from edgekit.demo_app import cached, page_html, panels, pictures
from edgekit.demo_app.compare import same_golden, why_not_comparable
from edgekit.demo_app.inputs import choose
from edgekit.demo_app.launch import KEY_WORD
from edgekit.demo_app.page_html import escape_markdown
from edgekit.demo_app.shelf import Refused, Shelf, default_pair, read_shelf, title
from edgekit.edge_runtime.bundle.bundle import Bundle
from edgekit.edge_runtime.command_line import EDGEKIT
from edgekit.edge_runtime.errors import EdgekitError
from edgekit.edge_runtime.format import count_text

PROTECTIONS = ("server.enableCORS", "server.enableXsrfProtection")  # `edgekit demo` states them, a plain start may not
_EXCEPTIONS = "server.corsAllowedOrigins"  # from the first of them; no flag says that there are none


def main(folder: Path, allow: Sequence[str] = (), *, key: str | None = None) -> None:
    """Draws the page for the bundles of `folder`.

    Args:
        allow: formats that may run code from their files.
        key: the path of the public key that every bundle must be signed for; None asks for no signature.
    """
    st.set_page_config(page_title="edgekit demo", page_icon=pictures.icon(), layout="wide")
    st.html(Path(__file__).with_name("style.css"))
    st.html(page_html.HEADER)
    if origins := st.get_option(_EXCEPTIONS):
        st.error(
            f"This server lets pages of {escape_markdown(', '.join(map(str, origins)))} read what is shown here: a "
            f"config.toml in .streamlit, or in your home folder, says so with {_EXCEPTIONS}. Remove it there."
        )
        return
    if lacking := [name for name in PROTECTIONS if not st.get_option(name)]:
        st.error(
            f"This server was started without {' and '.join(lacking)}, so any web page could read what is shown here. "
            "A config.toml in .streamlit may say so. Start it with `edgekit demo`."
        )
        return
    try:
        shelf = read_shelf(folder, partial(cached.open_bundle, key=key), allow=allow)
    except EdgekitError as error:
        st.error(escape_markdown(error))
        return
    pair = _choose_pair(shelf, folder)
    _list_left_out(shelf)
    if pair is None:
        return
    try:
        _compare(*pair)
    except EdgekitError as error:
        st.error(escape_markdown(error))


def _choose_pair(shelf: Shelf, folder: Path) -> tuple[Bundle, Bundle] | None:
    if not shelf.models:
        st.error(
            f"No readable bundles in {escape_markdown(folder)}. `{EDGEKIT} quickstart` makes some in bundles/.",
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
    b = third.selectbox("Right: the quantized model", names, index=right, format_func=label, key="right")
    # For one run after the model was changed, a choice for the previous model can still arrive.
    return bundles.get(str(a), bundles[names[left]]), bundles.get(str(b), bundles[names[right]])


def _list_left_out(shelf: Shelf) -> None:
    count = len(shelf.refused)
    name = f"{count_text(count, 'bundle')} in this folder {'was' if count == 1 else 'were'} refused"
    _list_reasons(shelf.refused, name, icon=":material/gpp_bad:", key="refused")
    count = len(shelf.run_code)
    name = f"{count_text(count, 'bundle')} not loaded, because {'it runs' if count == 1 else 'they run'} code"
    _list_reasons(shelf.run_code, name, icon=":material/code:", key="run_code")


def _list_reasons(left_out: Sequence[Refused], name: str, *, icon: str, key: str) -> None:
    if left_out:
        with st.expander(name, icon=icon, key=key):
            for one in left_out:
                st.markdown(f"**{escape_markdown(one.path.name)}**: {escape_markdown(one.reason)}")


def _compare(left: Bundle, right: Bundle) -> None:
    reason = why_not_comparable(left, right)
    if reason is not None:
        st.warning(f"These two cannot run the same samples: {escape_markdown(reason)}. Choose another pair.")
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
        st.info("The two bundles carry different golden samples, so there are none to compare them on.")


if __name__ == "__main__":
    words = sys.argv[2:]
    keys = [word.removeprefix(KEY_WORD) for word in words if word.startswith(KEY_WORD)]
    formats = [word for word in words if not word.startswith(KEY_WORD)]
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "bundles"), formats, key=keys[-1] if keys else None)
