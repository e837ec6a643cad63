"""The report on layers: what int8 does to each one alone, and which stayed in float. Reads notes, measures nothing.

`float_layers` writes the notes into a bundle's manifest: names and decibels, separated by ", ".
"""

from __future__ import annotations

from html import escape

from edgekit.edge_runtime.format import db_text

from ..layer_notes import read_damages

SHOWN = 24  # the layers that int8 damages most; a deep net has hundreds
FULL_DB = 60.0  # an error of a thousandth: a bar of full length means no damage


def layers(notes: dict[str, dict[str, str]], names: dict[str, str]) -> str:
    """A table for each bundle whose layers were measured. The most damaging layer is first and has the shortest bar."""
    return "".join(_table(names.get(name, name), note) for name, note in notes.items() if "layers_sqnr_db" in note)


def _table(name: str, note: dict[str, str]) -> str:
    damages = read_damages(note["layers_sqnr_db"])
    in_float = set(note.get("float_layers", "").split(", "))
    rows = "".join(_row(one.layer, one.sqnr_db, one.layer in in_float) for one in damages[:SHOWN])
    more = len(damages) - SHOWN
    rest = f"<p>and {more} more, which int8 damages less</p>" if more > 0 else ""
    tried = note.get("layers_tried", "")
    return (
        f'<div class="layers"><h3>{escape(name)}</h3><table>{rows}</table>{rest}'
        f"<p>Layers put back into float, and the result: {escape(tried)}</p></div>"
    )


def _row(layer: str, sqnr_db: float, in_float: bool) -> str:
    share = max(0.0, min(sqnr_db, FULL_DB)) / FULL_DB
    kind = ("kept", "stayed in float") if in_float else ("", "int8")
    return (
        f'<tr class="{kind[0]}"><th scope="row"><code>{escape(layer)}</code></th>'
        f'<td class="bar"><i style="--share: {share:.3f}"></i></td><td>{db_text(sqnr_db)}</td><td>{kind[1]}</td></tr>'
    )
