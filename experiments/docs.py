"""`python -m experiments.docs`: writes the tables of the documentation from `results/`, so that none is typed by hand.

A table stands between `<!-- table: results/x.json -->` and `<!-- end -->`; what is between is replaced. Three pages
are written whole: REPRODUCTION.md, LIDC_MALIGNANCY.md and LUNA_LESSONS.md, with their figures.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

from edgekit.edge_runtime.benchmark import measurement
from edgekit.edge_runtime.benchmark.table import footnotes, markdown
from edgekit.edge_runtime.files import write_bytes
from edgekit.train.reproduction import report as reproduction_report

from .calibration.table import calibration_table
from .lidc import measure as lidc_malignancy
from .linux_devices import handed_in_table, linux_table
from .luna_lessons import report as luna_lessons
from .lung.table import luna_bundles_table, luna_crops_table, luna_pixels_table, nodules_table
from .own_models_table import own_models_table
from .peers.table import peers_table
from .rewrites.table import rewrites_table
from .survey.tables import survey_backbones_table, survey_int8_table, survey_models_table
from .torch_free import torch_free_table
from .training.tables import benchmark_table, speedrun_table
from .web_app import web_app_table

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = (
    "README.md", "docs/INSTALL.md", "docs/NODULES.md", "docs/OPTIMIZATION.md", "docs/OWN_MODEL.md", "docs/REWRITES.md",
    "docs/SPEED.md", "docs/TRAINING.md", "docs/devices/README.md", "docs/devices/linux.md", "docs/devices/web.md",
)  # fmt: skip
LESSONS = ROOT / "results" / "luna-synthetic-cuda.json"  # the larger of the two sizes, which the page is about
_BLOCK = re.compile(r"<!-- (\w+): (\S+) -->\n(.*?)<!-- end -->", re.DOTALL)


def bundle_table(path: Path) -> str:
    """A `results.json` of `edgekit optimize` as the one table, with its caption and footnotes."""
    measured = measurement.load(path)
    notes = "".join(f"\n- {note}" for note in footnotes(measured.rows))
    rows = markdown(measured.rows, model=measured.model)
    return f"{rows}\n\n{measured.caption()} Measured {measured.measured_at[:10]}.\n{notes}"


def comparison_table(path: Path) -> str:
    """What `experiments/compare_runs.py` wrote: each seed's training losses and accuracy beside the book's."""
    comparison = json.loads(path.read_text(encoding="utf-8"))
    losses, ours = comparison["training_loss"], comparison["ours"]
    seeds = [key for key in losses[0] if key.startswith("seed")]
    final = {"book": comparison["book"]["value"]} | {f"seed {run['seed']}": run["validation"] for run in ours["runs"]}
    lines = ["| training loss at epoch | " + " | ".join(str(row["epoch"]) for row in losses) + " | accuracy |"]
    lines += ["| --- |" + " ---: |" * (len(losses) + 1)]
    for who in ("book", *seeds):
        cells = [f"{row[who]:.4f}" for row in losses]
        lines += [f"| {who} | " + " | ".join(cells) + f" | {final[who]:.{2 if who == 'book' else 4}f} |"]
    text = f"Mean over {len(seeds)} seeds {ours['mean']:.4f}, spread (standard deviation) {ours['spread']:.4f}."
    published = comparison["published_weights"]
    if published:
        text += f" The book's published weights, measured the same way: {published['validation']:.4f}."
    return "\n".join(lines) + f"\n\n{text}\n"


def calibrations(path: Path) -> str:
    """`calibration_table`, or how to measure it: that takes an hour, and published weights on disk."""
    return calibration_table(path) if path.is_file() else "Not measured yet: `python examples/calibration_ways.py`.\n"


RENDERERS: dict[str, Callable[[Path], str]] = {
    "table": bundle_table,
    "comparison": comparison_table,
    "training_speed": benchmark_table,
    "speedrun": speedrun_table,
    "own_models": own_models_table,
    "linux_devices": linux_table,
    "handed_in": handed_in_table,
    "peers": peers_table,
    "rewrites": rewrites_table,
    "calibration": calibrations,
    "luna_bundles": luna_bundles_table,
    "luna_pixels": luna_pixels_table,
    "luna_crops": luna_crops_table,
    "nodules": nodules_table,
    "survey_models": survey_models_table,
    "survey_backbones": survey_backbones_table,
    "survey_int8": survey_int8_table,
    "torch_free": torch_free_table,
    "web_app": web_app_table,
}


def render(text: str) -> str:
    """The document with every block filled again from its results file."""

    def fill(block: re.Match) -> str:
        kind, name, _ = block.groups()
        return f"<!-- {kind}: {name} -->\n\n{RENDERERS[kind](ROOT / name)}\n<!-- end -->"

    return _BLOCK.sub(fill, text)


def main() -> None:
    for name in DOCUMENTS:
        path = ROOT / name
        write_bytes(path, render(path.read_text(encoding="utf-8")).encode())
    results, docs = ROOT / "results", ROOT / "docs"
    reproduction_report.write(results, docs)
    lidc_malignancy.write_page(results / "lidc-malignancy-cpu.json", docs)
    luna_lessons.write(json.loads(LESSONS.read_bytes()), docs, source=LESSONS)


if __name__ == "__main__":
    main()
