"""`python -m experiments.linux_devices BUNDLES`: the apps for Linux, what they weigh and how close their answers are.

BUNDLES is a folder filled by `edgekit quickstart`. The x86 app runs here, the ARM64 one on a Cortex-A72 that qemu
emulates: its answers are those of the processor, its times mean nothing and are not kept. Writes
`results/devices-linux.json`; `linux_table` makes the table of docs/devices/linux.md from it.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

from edgekit.edge_runtime.decode import canonical_json
from edgekit.edge_runtime.devices.app import write_app
from edgekit.edge_runtime.devices.linux.apps import BUNDLES, LINUX_ARM64, LINUX_X86, RUNNER
from edgekit.edge_runtime.devices.self_test import SelfTest
from edgekit.edge_runtime.files import write_bytes
from edgekit.edge_runtime.format import bytes_text
from edgekit.edge_runtime.machine.cpu import machine
from edgekit.edge_runtime.temporary import temporary_folder
from edgekit.train.provenance import commit

ROOT = Path(__file__).resolve().parent.parent
PTE = ("executorch_xnnpack-fp32", "executorch_xnnpack-w8a8_static")
ONNX = ("onnx-fp32", "onnx-w8a8_static")
KINDS = ((PTE, False, ".pte"), (PTE, True, ".pte, `--minimal`"), (ONNX, False, ".onnx"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundles", type=Path)
    parser.add_argument("--model", default="digits_cnn")
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "devices-linux.json")
    asked = parser.parse_args()
    sys.path.insert(0, str(ROOT / "tests" / "helpers"))  # how a processor is emulated, tests and figures agree on
    import arm64  # type: ignore[import-not-found]

    rows: list[dict[str, object]] = []
    with temporary_folder() as folder:
        for device, before in ((LINUX_X86, []), (LINUX_ARM64, arm64.emulated(folder / "root"))):
            for names, minimal, kind in KINDS:
                app = folder / f"{device.name}{len(rows)}"
                paths = [asked.bundles / f"{asked.model}-{name}" for name in names]
                made = write_app(device, paths, app, minimal=minimal)
                rows.append(
                    {
                        "device": device.name,
                        "kind": kind,
                        "app_bytes": made.bytes,
                        "runner_bytes": (app / RUNNER).stat().st_size,
                        "library_bytes": sum(path.stat().st_size for path in (app / "lib").iterdir()),
                        "bundles": [_replayed(app, path.name, before) for path in paths],
                    }
                )
    found = {"commit": commit(), "machine": machine(), "model": asked.model, "rows": rows}
    write_bytes(asked.out, canonical_json(found))


def _replayed(app: Path, name: str, before: list[str]) -> dict[str, object]:
    command = [*before, str(app / RUNNER), str(app / BUNDLES / name), "--self-test", "--json"]
    found = json.loads(subprocess.check_output(command, env={"PATH": os.environ["PATH"]}))
    (output,) = found["results"]
    kept = {key: output[key] for key in ("sqnr_db", "agreement", "max_abs", "max_abs_since_packed", "passed")}
    return kept | {"name": name, "engine": found["engine"], "emulated": bool(before)}


def linux_table(path: Path) -> str:
    """Sizes and answers, a line for each app."""
    lines = [
        "| app | bundles | folder | libraries | program | float, max abs | int8, max abs | answers that agree |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in json.loads(path.read_text(encoding="utf-8"))["rows"]:
        full, quantized = row["bundles"]
        sizes = " | ".join(bytes_text(row[f"{part}_bytes"]) for part in ("app", "library", "runner"))
        closeness = f"{full['max_abs']:.1g} | {quantized['max_abs']:.1g}"
        agree = min(full["agreement"], quantized["agreement"])
        lines.append(f"| `{row['device']}` | {row['kind']} | {sizes} | {closeness} | {agree:.0%} |")
    return "\n".join(lines) + "\n"


def handed_in_table(folder: Path) -> str:
    """Results of real devices, a line for each file in the folder."""
    results = [SelfTest.read(path.read_bytes()) for path in sorted(folder.glob("*.json"))]
    if not results:
        return "None has been handed in yet.\n"
    lines = [
        "| machine | device | bundle | engine | threads | median ms | agreement | max abs | date |",
        "| --- | --- | --- | --- | ---: | ---: | ---: | ---: | --- |",
    ]
    for one in results:
        agreement, worst = min(r.agreement for r in one.results), max(r.max_abs for r in one.results)
        lines.append(
            f"| {one.machine.processor} | `{one.device}` | {one.bundle} | {one.engine} | {one.num_threads} | "
            f"{one.latency.median_ms:.3g} | {agreement:.0%} | {worst:.1g} | {one.when[:10]} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
