"""`python -m experiments.lung.scans`: what `edgekit nodules` finds in one scan with bundles, and with float weights.

Runs the command once for the published weights and once for each folder of bundles that `bundles.py` made. Finished
runs of the same files are kept, so the same command continues. Writes results/nodules-int8.json after each run. The
default scan is the real CT of the data folder.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path
from typing import Any

from edgekit.cli.nodules import nodules
from edgekit.edge_runtime.bundle.bundle import Bundle
from edgekit.edge_runtime.decode import canonical_json, to_plain
from edgekit.edge_runtime.errors import EdgekitError, MissingData
from edgekit.edge_runtime.files import sha256_file, write_bytes
from edgekit.edge_runtime.program import GOES_ON, program
from edgekit.train import provenance
from edgekit.train.data import luna_samples
from edgekit.train.nodules.analysis import choose_weights
from edgekit.train.nodules.bundles import choose_bundles
from edgekit.train.nodules.compare import Results, compare, read_results

FLOAT = "float"
FORMS = tuple(f"{engine}-{form}" for form in ("int8", "fp32", "fp16") for engine in ("onnx", "executorch_xnnpack"))
# The folders that U-Net and classifier are taken from, to tell what 8 bits do to each of them.
COMBINED = {
    "onnx-fp16_unet_int8_classifier": ("onnx-fp16", "onnx-int8"),
    "executorch_xnnpack-fp32_unet_int8_classifier": ("executorch_xnnpack-fp32", "executorch_xnnpack-int8"),
}


def read_or_run(scan: Path, work: Path, form: str, bundles: Path | None) -> Results:
    """What `edgekit nodules` wrote for `form` under `work`; runs it where that is missing, or made from other files.

    Raises:
        EdgekitError: as the command does.
    """
    folder = work / form
    sums = _sums(bundles)
    try:
        written = read_results(folder)
        if {net: of["sha256"] for net, of in written.answer["provenance"]["weights"].items()} == sums:
            return written
    except EdgekitError:  # missing or damaged: it is made again
        pass
    if folder.exists():
        shutil.rmtree(folder)
    print(f"{form}: running", file=sys.stderr, flush=True)
    nodules(scan, out=folder, bundles=bundles, top=0)
    return read_results(folder)


def measure(scan: Path, *, bundles: Path, work: Path, results: Path) -> None:
    """Runs every form whose bundles exist, unless it is finished, and writes `results` after each.

    Raises:
        MissingData: there are no bundles. EdgekitError: as `read_or_run`.
    """
    forms = {form: bundles / form for form in FORMS if _complete(bundles / form)}
    for form, (of_unet, of_classifier) in COMBINED.items():
        if of_unet in forms and of_classifier in forms:
            forms[form] = combine(work / "bundles" / form, unet=forms[of_unet], classifier=forms[of_classifier])
    if not forms:
        raise MissingData(f"{bundles} has none of {', '.join(FORMS)}. Make them: python -m experiments.lung.bundles")
    reference = read_or_run(scan, work, FLOAT, None)
    written: dict[str, Any] = {
        "format_version": 1,
        "scan": {
            "series_uid": reference.answer["provenance"]["series_uid"],
            "shape": list(reference.mask.shape),
            "origin": luna_samples.DICOM_ORIGIN if scan == luna_samples.dicom_folder() else scan.name,
        },
        "note": "Flagged voxels compared with the float net's; slices "
        f"{', '.join(map(str, luna_samples.CALIBRATED))} of this scan gave tiles that the U-Net was calibrated on, "
        "and crops around them the classifier.",
        "reference": _summary(reference),
        "forms": {},
    }
    for form, folder in forms.items():
        findings = read_or_run(scan, work, form, folder)
        compared = compare(findings, reference)
        print(f"{form}: {compared.text}", flush=True)
        written["forms"][form] = _summary(findings) | {"against_float": to_plain(compared)}
        written |= {"commit": provenance.commit(), "versions": provenance.versions()}
        write_bytes(results, canonical_json(written))


def _complete(folder: Path) -> bool:
    try:
        return bool(choose_bundles(folder))
    except EdgekitError:  # missing, or a net could not be made in this form
        return False


def combine(folder: Path, *, unet: Path, classifier: Path) -> Path:
    """Fills `folder` with copies of the U-Net's bundle in `unet` and of the classifier's in `classifier`."""
    shutil.rmtree(folder, ignore_errors=True)
    for net, source in (("segmenter", unet), ("classifier", classifier)):
        path = choose_bundles(source)[net]
        shutil.copytree(path, folder / path.name)
    return folder


def _sums(bundles: Path | None) -> dict[str, str]:
    """SHA-256, by net, of the files that a run would use."""
    if bundles is None:
        paths = choose_weights(None, segmenter=None, classifier=None, malignancy=None)
        return {net: sha256_file(path) for net, path in paths.items()}
    sums = {}
    for net, path in choose_bundles(bundles).items():
        with Bundle.open(path) as bundle:
            sums[net] = sha256_file(bundle.model_path)
    return sums


def _summary(written: Results) -> dict[str, Any]:
    facts = written.answer["provenance"]
    return {
        "nets": facts["weights"],
        "flagged_voxels": facts["flagged_voxels"],
        "groups": facts["groups"],
        "findings": len(written.answer["findings"]),
        "seconds": facts["seconds"],
        "highest": [
            {key: finding[key] for key in ("number", "nodule", "voxel", "center_mm", "diameter_mm")}
            for finding in written.answer["findings"][:10]
        ],
    }


@program(interrupted=GOES_ON)
def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m experiments.lung.scans", description=__doc__.splitlines()[0])
    parser.add_argument("scan", nargs="?", type=Path, help="a .mhd or .mha file, or a folder of DICOM slices")
    parser.add_argument(
        "--bundles", type=Path, default=Path("bundles/luna"), help="as experiments.lung.bundles left it"
    )
    parser.add_argument("--work", type=Path, default=Path("runs/nodules"), help="where the runs are kept")
    parser.add_argument("--results", type=Path, default=Path("results/nodules-int8.json"))
    chosen = parser.parse_args()
    scan = chosen.scan or luna_samples.dicom_folder()
    measure(scan, bundles=chosen.bundles, work=chosen.work, results=chosen.results)


if __name__ == "__main__":
    sys.exit(main())
