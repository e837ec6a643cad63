"""`python -m experiments.lung.bundles`: the nets of the lung project as bundles, compared with their float nets.

Every net with its published weights, in float and in 8 bits, for onnxruntime and ExecuTorch. A bundle that is there
already and whose inputs have not changed is kept, so the same command goes on where it was. Writes
results/luna-bundles.json after every bundle; `--latency` measures all of them, interleaved, for a quiet machine.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgekit.cli.optimize import Teller
from edgekit.edge_runtime.benchmark.measure import bundle_candidate, measure
from edgekit.edge_runtime.bundle.manifest import Manifest
from edgekit.edge_runtime.decode import canonical_json, parse_json
from edgekit.edge_runtime.errors import EdgekitError, MissingData, VerificationError
from edgekit.edge_runtime.files import write_bytes
from edgekit.edge_runtime.machine.cpu import machine
from edgekit.edge_runtime.program import GOES_ON, program
from edgekit.optimize.cache import fingerprint, unchanged_bundle
from edgekit.optimize.deploy import DeployModel, deploy_book_model
from edgekit.optimize.exporters import EXPORTERS, Exporter
from edgekit.optimize.pack import bundle_name, pack_bundle, tools_of
from edgekit.optimize.recipes import RECIPES
from edgekit.optimize.verify import FloatReference
from edgekit.train import provenance
from edgekit.train.data.book import book_file
from edgekit.train.models.luna_malignancy import PUBLISHED as CLASSIFIER
from edgekit.train.nodules.analysis import PUBLISHED_SEGMENTER
from edgekit.train.registry import book_model

from .compare_float import compare_float

WEIGHTS = {"luna_unet": PUBLISHED_SEGMENTER, "luna_classifier": CLASSIFIER, "luna_malignancy": CLASSIFIER}
NOTES = {
    "luna_malignancy": "No malignancy net was published. These are the published nodule classifier's weights, which it "
    "is fine-tuned from: its form, size and faithfulness are real, its accuracy at malignancy means nothing."
}
STUDY = "w8a8"  # all layers in 8 bits, even if the gate refuses that, to show how far off the U-Net then is
FORMATS = ("onnx", "executorch_xnnpack")
# The first recipe that passes its gate is taken; for "w8a8", which is for study, whatever comes out.
FORMS = {"fp32": ("fp32",), "fp16": ("fp16",), "int8": ("w8a8_static", "mixed"), STUDY: ("w8a8_static",)}
_MAX_DROP = 0.01
_TELLER = Teller(as_json=True)  # all of it on stderr


def sample_model(name: str) -> DeployModel:
    """A net with its published weights on its real samples, even if there is a store; raises MissingData."""
    book = book_model(name)
    assert book.samples is not None
    return deploy_book_model(replace(book, data=book.samples), book_file(WEIGHTS[name]))


def pack(model: DeployModel, reference: FloatReference, exporter: Exporter, form: str, out: Path) -> dict[str, Any]:
    """Packs `model` in `form`, or keeps what is there; a row for the results, with the reasons of what failed."""
    row: dict[str, Any] = {"model": model.name, "exporter": exporter.name, "form": form, "failed": {}}
    settings = (_MAX_DROP, form == STUDY, model.noise)
    for recipe in (RECIPES[name] for name in FORMS[form]):
        made_from = fingerprint(model, reference, exporter, recipe, tools=tools_of(exporter), settings=settings)
        name = bundle_name(model, exporter, recipe)
        _say(name)
        if kept := unchanged_bundle(out / name, made_from):
            manifest = kept.manifest
        else:
            try:
                manifest = pack_bundle(
                    model, exporter, recipe, out, reference=reference, max_drop=_MAX_DROP, made_from=made_from,
                    allow_unverified=form == STUDY, on_event=_TELLER.tell,
                ).manifest  # fmt: skip
            except VerificationError as error:
                row["failed"][recipe.name] = str(error)
                _say(str(error))
                continue
            except EdgekitError as error:
                row["failed"][recipe.name] = str(error)
                return row
        return row | {"bundle": name, **_facts(manifest)}
    return row


def _facts(manifest: Manifest) -> dict[str, Any]:
    last = manifest.stages[-1]
    metric = manifest.metrics[0] if manifest.metrics else None
    return {
        "recipe": manifest.recipe,
        "status": manifest.status,
        "bytes": manifest.artifact.bytes,
        "sqnr_db": last.sqnr_db,
        "agreement": last.agreement,
        "metric": metric
        and {"name": metric.name, "value": metric.value, "float": metric.float_value, "samples": metric.samples},
        "notes": {
            key: value
            for key, value in manifest.provenance.items()
            if key in ("rewrites", "delegated_operators", "outside_delegate", "onnx_operators", "float_layers")
        },
    }


def run(out: Path, results: Path, *, only: tuple[str, ...] = (), forms: tuple[str, ...] = ()) -> None:
    """Makes or keeps every bundle under `out`/<format>-<form>, and writes `results` after each.

    `only`: these nets; `forms`: in these forms alone, the rows of others stay.
    """
    written = parse_json(results.read_bytes()) if results.is_file() else {}
    rows = {(row["model"], row["exporter"], row["form"]): row for row in written.get("rows", [])}
    for name in only or tuple(WEIGHTS):
        model = sample_model(name)
        reference = FloatReference.of(model)
        for exporter in (EXPORTERS[key] for key in FORMATS):
            for form in forms or FORMS:
                if form == STUDY and name != "luna_unet":
                    continue
                # A folder of `edgekit nodules --bundles` has one bundle of each net; the malignancy net means nothing.
                place = out / (f"{exporter.name}-{form}" if name != "luna_malignancy" else "malignancy")
                row = pack(model, reference, exporter, form, place)
                if "bundle" in row:
                    row |= compare_float(place / row["bundle"], model)
                rows[name, exporter.name, form] = row | {
                    "data": model.origin,
                    "weights_sha256": model.weights_sha256,
                    "note": NOTES.get(name, ""),
                }
                written |= {"format_version": 1, "rows": list(rows.values())}
                written |= {"commit": provenance.commit(), "versions": provenance.versions()}
                write_bytes(results, canonical_json(written))


def compare_again(out: Path, results: Path) -> None:
    """Compares the bundles that `results` names with their float nets once more; makes none."""
    written, paths = _made(out, results)
    for name in dict.fromkeys(row["model"] for row in written["rows"]):
        model = sample_model(name)
        for row in written["rows"]:
            if row["model"] == name and "bundle" in row:
                _say(row["bundle"])
                row |= compare_float(paths[row["bundle"]], model)
    write_bytes(results, canonical_json(written))


def latency(out: Path, results: Path) -> None:
    """Measures the bundles that `results` names, interleaved, and adds `latency_ms` to their rows."""
    written, paths = _made(out, results)
    named = {row["bundle"]: row for row in written["rows"] if "bundle" in row}
    for found in measure([bundle_candidate(path) for path in paths.values()]):
        named[found.name]["latency_ms"] = {
            "p50": found.percentile_ms(50),
            "p95": found.percentile_ms(95),
            "invalid_because": list(found.invalid_because),
        }
    written["machine"] = machine()
    write_bytes(results, canonical_json(written))


def _made(out: Path, results: Path) -> tuple[Any, dict[str, Path]]:
    """The results, and the bundles that they name; raises MissingData if one is missing."""
    written = parse_json(results.read_bytes())
    named = {row["bundle"] for row in written["rows"] if "bundle" in row}
    paths = {path.name: path for path in sorted(out.glob("*/*")) if path.name in named}
    if len(paths) < len(named):
        raise MissingData(
            f"{out} has {len(paths)} of the {len(named)} bundles. Run: python -m experiments.lung.bundles"
        )
    return written, paths


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


@program(interrupted=GOES_ON)
def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m experiments.lung.bundles", description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("bundles/luna"), help="where the bundles go")
    parser.add_argument("--results", type=Path, default=Path("results/luna-bundles.json"))
    parser.add_argument("--model", action="append", choices=WEIGHTS, help="only this net; repeat for more")
    parser.add_argument("--form", action="append", choices=FORMS, help="only this form; repeat for more")
    parser.add_argument("--latency", action="store_true", help="measure the bundles; needs a quiet machine")
    parser.add_argument("--compare", action="store_true", help="compare the bundles with their float nets once more")
    chosen = parser.parse_args()
    if chosen.compare:
        compare_again(chosen.out, chosen.results)
    elif chosen.latency:
        latency(chosen.out, chosen.results)
    else:
        run(chosen.out, chosen.results, only=tuple(chosen.model or ()), forms=tuple(chosen.form or ()))


if __name__ == "__main__":
    sys.exit(main())
