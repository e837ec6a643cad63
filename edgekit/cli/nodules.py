"""`edgekit nodules`: a chest CT in, a page of findings out.

Progress goes to standard error, the answer to standard output.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path

import torch

from edgekit.cli.json_answer import print_json
from edgekit.cli.terminal import progress
from edgekit.edge_runtime.bundle.bundle import Bundle
from edgekit.edge_runtime.decode import to_plain
from edgekit.edge_runtime.errors import Interrupted, UsageError
from edgekit.edge_runtime.files import check_output, sha256_file
from edgekit.train.data.ct import read_scan
from edgekit.train.nodules import report
from edgekit.train.nodules.analysis import Analysis, analyse, choose_weights, load_nets
from edgekit.train.nodules.bundles import choose_bundles, load_bundle_nets
from edgekit.train.nodules.compare import check_series, compare, read_results
from edgekit.train.nodules.report import Provenance, chances_text, place_text
from edgekit.train.provenance import commit, device_name, versions

_PRINTED = 5  # findings; the page has all of them


def nodules(
    scan: Path,
    *,
    out: Path,
    weights: str | None = None,
    segmenter: Path | None = None,
    classifier: Path | None = None,
    malignancy: Path | None = None,
    bundles: Path | None = None,
    against: Path | None = None,
    top: int = 20,
    as_json: bool = False,
) -> None:
    """Analyses the scan at `scan`, a .mhd or a folder of DICOM slices, and writes the folder `out`.

    Args:
        bundles: a folder with one bundle of each net, used instead of weights.
        against: the folder of an earlier run on the same scan, to compare the findings with.
        top: how many findings get a picture.

    Raises:
        MissingData: no such scan or weights. InputError: the scan is damaged or too small.
        UsageError: `out` is not empty, or the weights are of another net, or only some are given,
            or both bundles and weights are, or `against` is of another scan.
        BundleError: a bundle is damaged.
        Interrupted: Ctrl-C; nothing was written.
    """
    try:
        began = time.perf_counter()
        report.check_free(out)
        check_output(out, [path for path in (scan, bundles, against) if path])
        reference = read_results(against) if against else None
        with ExitStack() as stack:
            if bundles:
                if weights or segmenter or classifier or malignancy:
                    raise UsageError("--bundles brings its own weights: leave out --weights and the nets' files")
                opened = {net: stack.enter_context(Bundle.open(at)) for net, at in choose_bundles(bundles).items()}
                paths = {net: bundle.model_path for net, bundle in opened.items()}
                labels = {net: f"{bundle.name}/{bundle.model_path.name}" for net, bundle in opened.items()}
                nets = load_bundle_nets(opened)
            else:
                paths = choose_weights(weights, segmenter=segmenter, classifier=classifier, malignancy=malignancy)
                labels = {net: path.name for net, path in paths.items()}
                nets = load_nets(paths)
            sums = {net: sha256_file(path) for net, path in paths.items()}
            volume = read_scan(scan)
            if reference is not None:
                check_series(volume.series_uid, reference)  # before the minutes that the nets take
            read = time.perf_counter()
            analysis = analyse(volume, nets, show=progress)
        provenance = Provenance(
            scan=scan.resolve().name,
            series_uid=volume.series_uid,
            shape=volume.hu.shape,
            spacing_mm=volume.spacing_mm,
            weights={net: {"file": labels[net], "sha256": sums[net]} for net in paths},
            device=device_name(torch.device("cpu")),
            versions=versions() | {"scipy": version("scipy")},
            commit=commit(),
            flagged_voxels=analysis.flagged_voxels,
            groups=analysis.groups,
            most_probable=analysis.most_probable,
            seconds={"read": round(read - began, 2), **analysis.seconds},
        )
        report.write(out, volume, analysis, provenance, top=top)
        comparison = compare(read_results(out), reference) if reference else None
    except KeyboardInterrupt:
        raise Interrupted(f"interrupted: nothing was written to {out}. The same command starts over") from None
    if as_json:
        answer = report.answer(analysis, provenance) | ({"against": to_plain(comparison)} if comparison else {})
        print_json(answer, sort_keys=True)
        return
    _print_findings(analysis, provenance, out)
    if comparison:
        print(f"against {against}: {comparison.text}")


def _print_findings(analysis: Analysis, provenance: Provenance, out: Path) -> None:
    """The counts, the first findings, and where the rest is."""
    count, groups = len(analysis.findings), f"{analysis.groups:,} group{'' if analysis.groups == 1 else 's'}"
    print(
        f"{provenance.scan}: {analysis.flagged_voxels:,} voxels flagged, {groups}, {count} taken for nodules, "
        f"in {sum(provenance.seconds.values()):.0f} s"
    )
    for finding in analysis.findings[:_PRINTED]:
        x, y, z = finding.center_mm
        print(
            f"  {finding.number}. {chances_text(finding)}, {finding.diameter_mm:.1f} mm, {place_text(finding)}, "
            f"at ({x:.1f}, {y:.1f}, {z:.1f}) mm"
        )
    if count > _PRINTED:
        print(f"  and {count - _PRINTED} more")
    print(f"{report.DISCLAIMER}\npage:    {out / report.PAGE_FILE}")
