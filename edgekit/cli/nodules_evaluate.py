"""`edgekit nodules evaluate`: the confusion table of chapter 14 over many scans; the same command continues.

Progress goes to standard error, the answer to standard output.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from edgekit.cli.json_answer import print_json
from edgekit.edge_runtime.decode import canonical_json
from edgekit.edge_runtime.errors import Interrupted, UsageError
from edgekit.edge_runtime.files import check_output, write_bytes
from edgekit.train.data.synthetic_ct import MARK, MARK_FILE
from edgekit.train.nodules.analysis import choose_weights
from edgekit.train.nodules.bundles import choose_bundles
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
    choose_series,
    evaluate,
    table_as_json,
)
from edgekit.train.nodules.report import DISCLAIMER
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
    """Evaluates the nets on LUNA16's scans under `root`; returns whether all of them could be read.

    Writes a file for each scan, and evaluation.json, in `out`; scans that are there already are not analysed again.

    Raises:
        Interrupted: Ctrl-C; finished scans are kept.
        and as `choose_weights`, `choose_bundles`, `choose_series` and `evaluate`.
    """
    if bundles and (weights or segmenter or classifier or malignancy):
        raise UsageError("--bundles brings its own weights: leave out --weights and the nets' files")
    check_output(out, [root, *([bundles] if bundles else [])])
    wanted = choose_series(root, split=split, listed=series)
    nets = NetFiles.of(
        choose_bundles(bundles)
        if bundles
        else choose_weights(weights, segmenter=segmenter, classifier=classifier, malignancy=malignancy),
        bundles=bundles is not None,
    )
    done = 0

    def note(uid: str, outcome: np.ndarray | Skipped, total: int) -> None:
        nonlocal done
        done += 1
        print(f"{done} now, of {total} scans: {uid}: {_outcome_text(outcome)}", file=sys.stderr, flush=True)

    def note_retry(uid: str, why: str) -> None:
        print(f"{uid}: its worker was lost; trying again: {why}", file=sys.stderr, flush=True)

    try:
        evaluation = evaluate(
            root, out, nets, series=wanted, processes=jobs, ray=ray, on_scan=note, on_retry=note_retry
        )
    except KeyboardInterrupt:
        raise Interrupted(
            f"interrupted: {done} scan{'s' * (done != 1)} finished now, kept in {out}. The same command continues"
        ) from None
    answer = _answer(evaluation, nets, synthetic=(root / MARK_FILE).is_file(), split=str(series or split))
    write_bytes(out / RESULT_FILE, canonical_json(answer))
    if as_json:
        print_json(answer, sort_keys=True)
        return not evaluation.skipped
    if answer["synthetic"]:
        print(f"{MARK} scans, which show no patient")
    print(table_text(evaluation.table, evaluation.outcomes))
    nodules = evaluation.table[1:].sum()
    found, wrong = _found_and_wrong(evaluation.table)
    print(
        f"{len(evaluation.tables)} scans, {done - len(evaluation.skipped)} of them analysed now: {found:,} of "
        f"{nodules:,} nodules found, and {wrong:,} findings that are not nodules"
    )
    for one in evaluation.skipped:
        print(f"skipped: {one.series_uid}: {one.why}", file=sys.stderr)
    print(f"{DISCLAIMER}\nresults: {out / RESULT_FILE}")
    return not evaluation.skipped


def table_text(table: np.ndarray, outcomes: Sequence[str]) -> str:
    """The confusion table as the book prints it. A group that is no nodule cannot be missed."""
    width = max(map(len, TRUTHS))
    lines = [" | ".join([" " * width, *outcomes])]
    for row, truth in enumerate(TRUTHS):
        counts = ("" if not row and i == MISSED else f"{table[row, i]:,}" for i in range(len(outcomes)))
        lines.append(
            " | ".join([truth.ljust(width), *(text.rjust(len(n)) for text, n in zip(counts, outcomes, strict=True))])
        )
    return "\n".join(lines)


def _outcome_text(outcome: np.ndarray | Skipped) -> str:
    if isinstance(outcome, Skipped):
        return f"skipped: {outcome.why}"
    found, wrong = _found_and_wrong(outcome)
    return f"{found} of {outcome[1:].sum()} nodules found, {wrong} findings that are not nodules"


def _found_and_wrong(table: np.ndarray) -> tuple[int, int]:
    """How many nodules were predicted to be nodules, and how many groups that are none."""
    return int(table[1:, FILTERED + 1 :].sum()), int(table[0, FILTERED + 1 :].sum())


def _answer(evaluation: Evaluation, nets: NetFiles, *, synthetic: bool, split: str) -> dict[str, object]:
    """The content of evaluation.json."""
    return {
        "format_version": FORMAT_VERSION,
        "split": split,
        "synthetic": synthetic,
        "match_within_diameters": NEAR,
        "table": table_as_json(evaluation.table, evaluation.outcomes),
        "scans": {uid: table_as_json(table, evaluation.outcomes) for uid, table in evaluation.tables.items()},
        "skipped": {one.series_uid: one.why for one in evaluation.skipped},
        "nets": {net: {"file": path.name, "sha256": nets.sha256[net]} for net, path in nets.paths.items()},
        "versions": versions(),
        "commit": commit(),
        "warning": DISCLAIMER,
    }
