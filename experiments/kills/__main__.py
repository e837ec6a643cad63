"""Kills commands with SIGKILL at random moments, and looks at what is left: the promise of docs/SECURITY.md, tried.

`python -m experiments.kills --kills 200` writes results/kills.json. Moments are drawn evenly from the time that the
command took when it was left alone. After each kill nothing half-made may be offered; the same command, run again, has
to end well with the result of a run that nobody disturbed, and to leave no process and no temporary file behind.
Each command runs in a folder of its own, with its own TMPDIR and cache.

It can be run in parts: `--only pack,sign` keeps what the file says of the other commands.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgekit.edge_runtime.bundle.bundle import find_bundles
from edgekit.edge_runtime.decode import canonical_json
from edgekit.edge_runtime.errors import EdgekitError
from edgekit.edge_runtime.files import write_bytes
from edgekit.edge_runtime.machine.cpu import machine
from edgekit.edge_runtime.program import program
from edgekit.edge_runtime.temporary import temporary_folder
from edgekit.train import provenance

from .commands import heavy_commands, light_commands, make_keys
from .killing import ROOT, Command, kill_at_random


def _edgekit(*arguments: str, cwd: Path) -> None:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-m", "edgekit", *arguments], cwd=cwd, env=environment, check=True)


def _chosen(names: str | None, commands: Sequence[Command]) -> list[Command]:
    wanted = [name.strip() for name in names.split(",")] if names else [command.name for command in commands]
    return [command for command in commands if command.name in wanted]


@program()
def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m experiments.kills", description=__doc__)
    parser.add_argument("--kills", type=int, default=200, help="of all commands together")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--before-rerun", type=int, default=1, help="kills that meet each other's leftovers")
    parser.add_argument("--only", help="such as pack,sign; default: all")
    parser.add_argument("--out", type=Path, default=Path("results/kills.json"))
    options = parser.parse_args()
    with temporary_folder() as place:
        inputs = place / "inputs"
        inputs.mkdir()
        # One trained model and one bundle for all: what is killed later begins from these.
        _edgekit("train", "digits_cnn", "--epochs", "2", cwd=inputs)
        _edgekit("optimize", "digits_cnn", "--exporter", "onnx", "--recipe", "fp32", "--quick", cwd=inputs)
        (bundle,) = find_bundles(inputs / "bundles")
        known = [*light_commands(bundle, make_keys(inputs)), *heavy_commands(inputs)]
        commands = _chosen(options.only, known)
        for i, command in enumerate(commands):
            kills = options.kills // len(commands) + (i < options.kills % len(commands))
            print(f"{command.name}: {kills} kills", flush=True)
            outcome = kill_at_random(
                command, kills, seed=options.seed, place=place / str(i), kills_before_rerun=options.before_rerun,
                log=lambda line: print(line, flush=True),
            )  # fmt: skip
            # Of each command its own commit: a fault that was mended is looked for again in that command alone.
            # And the file is read only now: another part may have written to it.
            outcomes = _outcomes(options.out, [one.name for one in known])
            outcomes[command.name] = vars(outcome) | {
                "commit": provenance.commit(),
                "seed": options.seed,
                "kills_before_rerun": options.before_rerun,
            }
            _write(options.out, [outcomes[one.name] for one in known if one.name in outcomes])
    faults = [f"{one['name']}: {fault}" for one in outcomes.values() for fault in one["faults"]]
    for fault in faults:
        print(fault)
    print(f"{sum(len(one['moments_s']) for one in outcomes.values())} kills, {len(faults)} faults; {options.out}")
    if faults:
        raise EdgekitError(f"{len(faults)} faults after kills; {options.out} has them")


def _outcomes(path: Path, names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """What an earlier part found, by command."""
    if not path.exists():
        return {}
    commands = json.loads(path.read_text(encoding="utf-8"))["commands"]
    return {one["name"]: one for one in commands if one["name"] in names}


def _write(path: Path, outcomes: Sequence[dict[str, Any]]) -> None:
    made_by = {"machine": machine(), "versions": provenance.versions()}
    counts = {
        "kills": sum(len(one["moments_s"]) for one in outcomes),
        "faults": sum(len(one["faults"]) for one in outcomes),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(path, canonical_json(made_by | counts | {"commands": outcomes}))


if __name__ == "__main__":
    sys.exit(main())
