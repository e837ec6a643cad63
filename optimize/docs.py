"""Writes the tables of the documentation from `results/`: no table is typed by hand. `python -m optimize.docs`.

A table stands between `<!-- table: results/x.json -->` and `<!-- end -->`; what is between them is replaced.
`docs/REPRODUCTION.md` is written whole, by `train/reproduction_report.py`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

from edge_runtime import measurement
from edge_runtime.files import write_bytes
from edge_runtime.table import footnotes, markdown
from train import reproduction_report

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = ("README.md",)
_BLOCK = re.compile(r"<!-- (\w+): (\S+) -->\n(.*?)<!-- end -->", re.DOTALL)


def bundle_table(path: Path) -> str:
    """A `results.json` of `edgekit optimize` as the one table, with its caption and footnotes."""
    measured = measurement.load(path)
    notes = "".join(f"\n- {note}" for note in footnotes(measured.rows))
    rows = markdown(measured.rows, model=measured.model)
    return f"{rows}\n\n{measured.caption()} Measured {measured.measured_at[:10]}.\n{notes}"


def comparison_table(path: Path) -> str:
    """The training losses of a reproduction beside the book's."""
    found = json.loads(path.read_text())
    epochs = [row["epoch"] for row in found["losses"]]
    lines = ["| training loss at epoch | " + " | ".join(map(str, epochs)) + " |"]
    lines += ["| --- |" + " ---: |" * len(epochs)]
    for who in ("book", "ours"):
        lines += [f"| {who} | " + " | ".join(f"{row[who]:.4f}" for row in found["losses"]) + " |"]
    return "\n".join(lines) + "\n"


RENDERERS: dict[str, Callable[[Path], str]] = {"table": bundle_table, "comparison": comparison_table}


def render(text: str) -> str:
    """The document with every block filled anew from its results file."""

    def fill(block: re.Match) -> str:
        kind, name, _ = block.groups()
        return f"<!-- {kind}: {name} -->\n\n{RENDERERS[kind](ROOT / name)}\n<!-- end -->"

    return _BLOCK.sub(fill, text)


def main() -> None:
    for name in DOCUMENTS:
        path = ROOT / name
        write_bytes(path, render(path.read_text()).encode())
    reproduction_report.write(ROOT / "results", ROOT / "docs")


if __name__ == "__main__":
    main()
