"""`REPRODUCTION.md` and its plots, from `results/reproduction-*.json` alone: the book's figures beside ours.

The fixed text is in `page_text.py`, the plots are in `plots.py`. Nothing here trains or evaluates.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from edgekit.edge_runtime.command_line import EDGEKIT
from edgekit.edge_runtime.decode import DecodeError, parse_json
from edgekit.edge_runtime.errors import EdgekitError
from edgekit.edge_runtime.format import percent_text
from edgekit.train.checkpoint import write_file
from edgekit.train.reproduction import plots
from edgekit.train.reproduction.page_text import DIFFERENCES, OPENING, TITLES
from edgekit.train.reproduction.results import FORMAT_VERSION
from edgekit.train.reproduction.time_left import duration

DOCUMENT, IMAGES = "REPRODUCTION.md", "images"
Results = dict[str, Any]


def write(results: Path, docs: Path) -> list[Path]:
    """Writes the page and its plots into `docs`; returns the files, none if there are no results yet.

    Raises:
        EdgekitError: a results file is damaged or of another version, or `docs` cannot be written.
    """
    pages = render(load(results))
    for name, content in pages.items():
        write_file(docs / name, content)
    return [docs / name for name in pages]


def load(results: Path) -> list[Results]:
    """Every `reproduction-*.json` in the folder, by chapter, 0 (beyond the book) last; the CPU's before others."""
    contents = []
    for path in results.glob("reproduction-*.json"):
        try:
            content = parse_json(path.read_bytes())
            if content["format_version"] != FORMAT_VERSION:
                raise EdgekitError(f"{path} has another format. Write it again: {EDGEKIT} reproduce --report-only")
        except (OSError, DecodeError, KeyError, TypeError) as error:
            raise EdgekitError(f"{path} is not a result of `{EDGEKIT} reproduce`: {error}. Remove it") from None
        contents.append(content)
    return sorted(contents, key=lambda r: (r["chapter"] or 99, r["device"] != "cpu", r["device"]))


def render(results: Sequence[Results]) -> dict[str, bytes]:
    """The page and its plots as {path below `docs`: content}; the same bytes for the same results, {} for none."""
    if not results:
        return {}
    figures: dict[str, bytes] = {}
    parts = [OPENING]
    for chapter in dict.fromkeys(one["chapter"] for one in results):
        parts.append(f"## {TITLES[chapter]}\n")
        for on_device in (one for one in results if one["chapter"] == chapter):
            drawn = plots.draw_all(on_device)
            figures |= {f"{IMAGES}/{name}.svg": content for name, (_, content) in drawn.items()}
            parts += [_section(on_device), *(f"![{alt}]({IMAGES}/{name}.svg)\n" for name, (alt, _) in drawn.items())]
    page = "\n".join([*parts, DIFFERENCES])
    return {DOCUMENT: page.encode(), **figures}


def _section(results: Results) -> str:
    """One chapter on one device: where it was measured, the table, and the notes on it."""
    parts = []
    if results["models"]:
        table = _table(HEAD, [_row(entry) for entry in results["models"]])
        parts += [_caption(results), table, _bullets(map(_note, results["models"]))]
    if results["not_run"]:
        parts += [
            "Not measured:\n",
            _bullets(f"`{one['model']}` ({one['summary']}): {one['reason']}." for one in results["not_run"]),
        ]
    if both := results["representation"]:
        parts.append(_representation(both))
    if results["lines"]:
        parts.append(_lines(results["lines"]))
    if curve := results.get("roc"):
        parts.append(
            f"Area under the curve, by trapezoids through the book's 100 thresholds: {curve['area']:.5f}; exactly, as "
            f"the chance that a malignant nodule is larger than a benign one: {curve['exact_area']:.5f}.\n"
        )
    return "\n".join(parts)


HEAD = (
    "model",
    "parameters",
    "target",
    "ours",
    "difference",
    "interval",
    "on training data",
    "target there",
    "runs",
    "epochs",
    "time for one",
)


def _row(entry: Results) -> list[str]:
    runs = entry["ours"]["runs"]
    train, book = statistics.mean(run["train"] for run in runs), entry["book"]
    difference = entry["difference"]
    low, high = _interval(entry)
    return [
        f"`{entry['model']}`",
        f"{entry['parameters']:,}",
        figure(entry, book["value"]) if difference is not None else "",
        figure(entry, entry["ours"]["mean"]) + spread(entry),
        "" if difference is None else figure(entry, difference, signed=True),
        f"{figure(entry, low)} – {figure(entry, high)}",
        figure(entry, train),
        "" if book["train_value"] is None else figure(entry, book["train_value"]),
        str(len(runs)),
        str(entry["config"]["epochs"]),
        duration(statistics.median(run["wall_s"] for run in runs)),
    ]


def figure(entry: Results, value: float, *, signed: bool = False) -> str:
    """A value of the entry's metric: a share in percent, anything else with four digits; `signed`: a difference."""
    if signed:
        return f"{100 * value:+.1f} points" if entry["is_share"] else f"{value:+.3g}"
    return f"{100 * value:.1f} %" if entry["is_share"] else f"{value:.4g}"


def spread(entry: Results) -> str:
    """ " ± 0.4", the runs' standard deviation in the unit of `figure`; "" for a single run."""
    deviation = entry["ours"]["spread"]
    if deviation is None:
        return ""
    return f" ± {100 * deviation:.1f}" if entry["is_share"] else f" ± {deviation:.2g}"


def _note(entry: Results) -> str:
    """Where the target comes from, what was done differently, and what the difference means."""
    book, (low, high) = entry["book"], _interval(entry)
    words = [f"`{entry['model']}`: {entry['summary']}. Target: {book['source'].rstrip('.')}."]
    if entry["shortened_from"]:
        words.append(f"**Shortened**: {entry['config']['epochs']} epochs instead of {entry['shortened_from']}.")
    if entry["difference"] is not None and not low <= book["value"] <= high:
        better = (entry["difference"] > 0) == entry["higher_is_better"]
        words.append(f"The target lies outside our interval: ours is {'better' if better else 'worse'}.")
    words += _swing(entry)
    words += [_resumed(run) for run in entry["ours"]["runs"] if "trained_on" in run]
    if entry["difference"] is None:
        words.append(f"We measure {entry['measured'].replace('_', ' ')}, which the source does not report.")
    return " ".join([*words, *([book["differs"]] if book["differs"] else [])])


def _swing(entry: Results) -> list[str]:
    """The range of the metric over the last tenth of the epochs, where the results have it."""
    ranges = [run["last_tenth"] for run in entry["ours"]["runs"] if "last_tenth" in run]
    if not ranges:
        return []
    low, high = min(low for low, _ in ranges), max(high for _, high in ranges)
    return [f"Over the last tenth of the epochs it went from {figure(entry, low)} to {figure(entry, high)}."]


def _resumed(run: Results) -> str:
    """The devices that trained the parts of a run that was resumed on another one."""
    parts = (f"{part['epochs']} epoch{'s' * (part['epochs'] != 1)} on {part['device']}" for part in run["trained_on"])
    return f"Seed {run['seed']} was trained for {', then '.join(parts)}."


def _interval(entry: Results) -> tuple[float, float]:
    """From the lowest to the highest end of the runs' intervals."""
    lows, highs = zip(*(run["interval"] for run in entry["ours"]["runs"]), strict=True)
    return min(lows), max(highs)


def _representation(both: Results) -> str:
    by_hand, learned = both["hand_made"], both["learned"]
    return (
        f"Both models end in one linear layer and see the same {both['samples']} validation digits (seed "
        f"{learned['seed']}). With {by_hand['features']} features made by hand "
        f"{percent_text(by_hand['accuracy'])} are right, with {learned['features']} learned ones "
        f"{percent_text(learned['accuracy'])}. {both['only_learned']} digits are right only with the "
        f"learned features, {both['only_hand_made']} only with the hand-made ones, {both['neither']} with neither.\n"
    )


def _lines(lines: Sequence[Results]) -> str:
    """Every printed figure of the deterministic runs beside ours; a run is named on its first line."""
    rows, run = [], ""
    for line in lines:
        same, digits = line["agreed"]
        named, run = ("" if line["run"] == run else line["run"]), line["run"]
        rows.append(
            [named, line["what"], line["book"], line["ours"], "all" if same == digits else f"{same} of {digits}"]
        )
    exact = sum(line["agreed"][0] == line["agreed"][1] for line in lines)
    return "\n".join(
        [
            f"Nothing is random in these runs of the chapter, so they are compared digit by digit: {exact} of the "
            f"{len(lines)} figures that the book prints agree in every digit.\n",
            _table(("run", "figure", "the book", "ours", "digits that agree"), rows),
        ]
    )


def _caption(results: Results) -> str:
    runs = [run for entry in results["models"] for run in entry["ours"]["runs"]]
    machines = dict.fromkeys(f"{run['device']}, {run['machine']['cpu']}" for run in runs)
    torch = dict.fromkeys(run["versions"]["torch"] for run in runs)
    seeds = sorted({run["seed"] for run in runs})
    metrics = dict.fromkeys(entry["measured"].replace("_", " ") for entry in results["models"])
    return (
        f"On {'; '.join(machines)}; PyTorch {', '.join(torch)}; seeds {', '.join(map(str, seeds))}. "
        f"Measured on the validation data: {', '.join(metrics)}.\n"
    )


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(head)} |", "| --- |" + " ---: |" * (len(head) - 1)]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)]) + "\n"


def _bullets(lines: Iterable[str]) -> str:
    return "".join(f"- {line}\n" for line in lines)
