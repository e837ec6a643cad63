"""How large the web app is, and how close its answers are: one folder, one file, and one folder with WebGPU.

    python -m experiments.web_app bundles/digits_cnn-onnx-* --out results/web-app.json

The app's self-test runs under Node, with the engine that browsers run. `download` is what a server sends that
compresses with gzip. Lines are those of the files that every app shares.
"""

from __future__ import annotations

import argparse
import gzip
import json
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from edgekit.cli.terminal import out
from edgekit.edge_runtime.bundle.bundle import Bundle
from edgekit.edge_runtime.decode import canonical_json
from edgekit.edge_runtime.devices.app import write_app
from edgekit.edge_runtime.devices.web.engine_files import PACKAGE, VERSION, WASM, WEBGPU
from edgekit.edge_runtime.devices.web.writer import PAGE, WEB
from edgekit.edge_runtime.files import write_bytes
from edgekit.edge_runtime.format import bytes_text, percent_text
from edgekit.edge_runtime.program import program
from edgekit.edge_runtime.temporary import temporary_folder
from edgekit.train.provenance import commit

_ORDER = ("folder", "one file", "folder with WebGPU", "engine", "engine for WebGPU", "our files")


def measure(bundles: list[Path]) -> dict[str, Any]:
    """Sizes of the three forms of the app of these bundles, and what its self-test says under Node."""
    forms: dict[str, dict[str, Any]] = {
        "folder": {},
        "one file": {"single_file": True},
        "folder with WebGPU": {"webgpu": True},
    }
    with temporary_folder() as work:
        sizes = {}
        for name, options in forms.items():
            folder = work / name.replace(" ", "-")
            write_app(WEB, bundles, folder, **options)
            sizes[name] = _sizes(path for path in folder.rglob("*") if path.is_file())
        sizes["engine"] = _sizes(work / "folder" / name for name in WASM)
        sizes["engine for WebGPU"] = _sizes(work / "folder-with-WebGPU" / name for name in WEBGPU)
        sizes["our files"] = _sizes(PAGE.iterdir())
        node = shutil.which("node") or "node"
        done = subprocess.run(
            [node, "check.js"], cwd=work / "folder", capture_output=True, encoding="utf-8", check=True
        )
    found = json.loads(done.stdout)
    version = subprocess.run([node, "--version"], capture_output=True, encoding="utf-8", check=True).stdout.strip()
    return {
        "engine": f"{PACKAGE} {VERSION}",
        "node": version,
        "sizes": sizes,
        "lines": {path.name: len(path.read_text(encoding="utf-8").splitlines()) for path in sorted(PAGE.iterdir())},
        "bundles": [
            one | {"model_bytes": _model_bytes(path)} for one, path in zip(found["bundles"], bundles, strict=True)
        ],
        "commit": commit(),
    }


def _sizes(paths: Iterable[Path]) -> dict[str, int]:
    contents = [path.read_bytes() for path in paths]
    download = sum(min(len(content), len(gzip.compress(content, mtime=0))) for content in contents)
    return {"files": len(contents), "bytes": sum(map(len, contents)), "download": download}


def _model_bytes(path: Path) -> int:
    with Bundle.open(path) as bundle:
        return bundle.manifest.artifact.bytes


def web_app_table(path: Path) -> str:
    """The measurement as two tables and a sentence."""
    found = json.loads(path.read_text(encoding="utf-8"))
    lines = ["| what | files | size | download, with gzip |", "| --- | ---: | ---: | ---: |"]
    for name in _ORDER:
        size = found["sizes"][name]
        lines.append(f"| {name} | {size['files']} | {bytes_text(size['bytes'])} | {bytes_text(size['download'])} |")
    lines += ["", "| bundle | model file | max \\|Δ\\| from Python | max \\|Δ\\| from the float model | agreement |"]
    lines += ["| --- | ---: | ---: | ---: | ---: |"]
    for bundle in found["bundles"]:
        for one in bundle["outputs"]:
            lines.append(
                f"| {bundle['name']} | {bytes_text(bundle['model_bytes'])} | {one['since_packed']:.2g} | "
                f"{one['max_abs']:.2g} | {percent_text(one['agreement'])} |"
            )
    ours = found["lines"]
    longest = max(ours.values())
    said = (
        f"Our files are {sum(ours.values()):,} lines; the longest has {longest}. {found['engine']} under Node "
        f"{found['node'].removeprefix('v')}."
    )
    return "\n".join([*lines, "", said, ""])


@program()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundles", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, default=Path("results/web-app.json"))
    options = parser.parse_args()
    write_bytes(options.out, canonical_json(measure(options.bundles)))
    out.print(web_app_table(options.out), soft_wrap=True, markup=False)


if __name__ == "__main__":
    sys.exit(main())
