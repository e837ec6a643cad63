"""`edgekit nodules evaluate`: the confusion table of chapter 14 over many scans, gone on with where it was left.

Progress goes to standard error, the answer to standard output.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from edgekit.edge_runtime.decode import canonical_json
from edgekit.edge_runtime.errors import Interrupted, UsageError
from edgekit.edge_runtime.files import write_bytes
from edgekit.train.data.synthetic_ct import MARK, MARK_FILE
from edgekit.train.nodules.analysis import chosen_weights
from edgekit.train.nodules.bundles import chosen_bundles
from edgekit.train.nodules.evaluate import (
    FILTERED,
    FORMAT_VERSION,
    MISSED,
    NEAR,
    RESULT_FILE,
    TRUTHS,
    Evaluation,
    NetFiles,
    Skipped,
    chosen_series,
    evaluate,
    plain,
)
from edgekit.train.nodules.report import STUDY
from edgekit.train.provenance import commit, versions


def nodules_evaluate(
    root: Path,
    *,
    out: Path,
    split: str = "validation",
    series: Path | None = None,
    weights: str | None = None,
    segmenter: Path | None = None,
    classifier: Path | None = None,
    malignancy: Path | None = None,
    bundles: Path | None = None,
    jobs: int = 1,
    ray: str | None = None,
    as_json: bool = False,
) -> bool:
    """Evaluates the nets on LUNA16's scans under `root`; returns whether all could be read.

    Writes a file of each scan and evaluation.json in `out`; what is there already is not done again.

    Raises:
        Interrupted: Ctrl-C; the scans that were done are kept.
        and as `chosen_weights`, `chosen_bundles`, `chosen_series` and `evaluate`.
    """
    if bundles and (weights or segmenter or classifier or malignancy):
        raise UsageError("--bundles brings its own weights: leave out --weights and the nets' files")
    wanted = chosen_series(root, split=split, listed=series)
    nets = NetFiles.of(
        chosen_bundles(bundles)
        if bundles
        else chosen_weights(weights, segmenter=segmenter, classifier=classifier, malignancy=malignancy),
        bundles=bundles is not None,
    )
    seen = 0

    def note(uid: str, found: np.ndarray | Skipped, count: int) -> None:
        nonlocal seen
        seen += 1
        print(f"{seen} now, of {count} scans: {uid}: {_line(found)}", file=sys.stderr, flush=True)

    def retried(uid: str, why: str) -> None:
        print(f"{uid}: its worker was lost, tried again: {why}", file=sys.stderr, flush=True)

    try:
        found = evaluate(root, out, nets, series=wanted, processes=jobs, ray=ray, on_scan=note, on_retry=retried)
    except KeyboardInterrupt:
        raise Interrupted(f"interrupted: {seen} scans were done now and are kept in {out}. The same goes on") from None
    answer = _answer(found, nets, synthetic=(root / MARK_FILE).is_file(), split=str(series or split))
    write_bytes(out / RESULT_FILE, canonical_json(answer))
    if as_json:
        sys.stdout.write(canonical_json(answer).decode())
        return not found.skipped
    if answer["synthetic"]:
        print(f"{MARK} scans, which show no patient")
    print(table_text(found.table, found.outcomes))
    nodules, wrong = found.table[1:].sum(), found.table[0, FILTERED + 1 :].sum()
    hit = found.table[1:, FILTERED + 1 :].sum()
    print(
        f"{len(found.tables)} scans, {seen - len(found.skipped)} of them done now: {hit:,} of {nodules:,} nodules "
        f"found, and {wrong:,} findings that are none"
    )
    for one in found.skipped:
        print(f"skipped: {one.series_uid}: {one.why}", file=sys.stderr)
    print(f"{STUDY}\nlook:    {out / RESULT_FILE}")
    return not found.skipped


def table_text(table: np.ndarray, outcomes: Sequence[str]) -> str:
    """The confusion table as the book prints it; a group that is no nodule cannot be missed."""
    width = max(map(len, TRUTHS))
    lines = [" | ".join([" " * width, *outcomes])]
    for row, truth in enumerate(TRUTHS):
        counts = ("" if not row and i == MISSED else f"{table[row, i]:,}" for i in range(len(outcomes)))
        lines.append(
            " | ".join([truth.ljust(width), *(text.rjust(len(n)) for text, n in zip(counts, outcomes, strict=True))])
        )
    return "\n".join(lines)


def _line(found: np.ndarray | Skipped) -> str:
    if isinstance(found, Skipped):
        return f"skipped: {found.why}"
    found_ones, wrong = found[1:, FILTERED + 1 :].sum(), found[0, FILTERED + 1 :].sum()
    return f"{found_ones} of {found[1:].sum()} nodules found, {wrong} findings that are none"


def _answer(found: Evaluation, nets: NetFiles, *, synthetic: bool, split: str) -> dict[str, object]:
    """The content of evaluation.json."""
    return {
        "format_version": FORMAT_VERSION,
        "split": split,
        "synthetic": synthetic,
        "match_within_diameters": NEAR,
        "table": plain(found.table, found.outcomes),
        "scans": {uid: plain(table, found.outcomes) for uid, table in found.tables.items()},
        "skipped": {one.series_uid: one.why for one in found.skipped},
        "nets": {net: {"file": path.name, "sha256": nets.sha256[net]} for net, path in nets.paths.items()},
        "versions": versions(),
        "commit": commit(),
        "warning": STUDY,
    }
