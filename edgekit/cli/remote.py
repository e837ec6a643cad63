"""`benchmark` and `verify` with `--on`: a bundle on a device that is reached over a wire."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from edgekit.edge_runtime.benchmark import measurement
from edgekit.edge_runtime.benchmark.benchmark_result import QUICK, Settings
from edgekit.edge_runtime.decode import to_plain
from edgekit.edge_runtime.devices.runner.remote import run_on
from edgekit.edge_runtime.errors import EdgekitError, UsageError, VerificationError
from edgekit.edge_runtime.files import check_output, require_writable
from edgekit.edge_runtime.worker.policy import Policy
from edgekit.edge_runtime.worker.replay import ReplayResult

from .benchmark import Printing, from_bundles
from .bundles import expand_folders, print_outcome
from .json_answer import print_json
from .terminal import err, escape, print_measurement


def verify(paths: Sequence[Path], where: str, *, as_json: bool, strict: bool, policy: Policy) -> bool:
    """Replays each bundle on the device and prints how close the answers are. Returns whether all passed."""
    outcomes: list[ReplayResult | EdgekitError] = []
    for path in expand_folders(paths):
        try:
            with policy.look(path) as bundle:
                outcomes.append(run_on(where, path, policy=policy).replayed(bundle.manifest))
        except UsageError:
            raise
        except EdgekitError as error:
            outcomes.append(error)
        if not as_json:
            print_outcome(path, outcomes[-1])
    if as_json:
        print_json(
            [{"error": str(one), "passed": False} if isinstance(one, EdgekitError) else asdict(one) for one in outcomes]
        )
    return all(
        isinstance(one, ReplayResult) and one.passed and (not strict or one.status == "verified") for one in outcomes
    )


def benchmark(
    paths: Sequence[Path], where: str, *, quick: bool, threads: int, printing: Printing, policy: Policy
) -> None:
    """Measures one bundle on the device and prints the table.

    Raises:
        UsageError: several bundles. They would not take turns there, so a ratio would compare two moments as well.
        VerificationError: it does not give its golden answers there.
    """
    found = expand_folders(paths)
    if len(found) != 1:
        raise UsageError(f"--on measures one bundle at a time, found {len(found)}. Give one, and compare the results")
    if printing.save_to is not None:
        check_output(printing.save_to, found)
        require_writable(printing.save_to.parent)
    settings = replace(QUICK if quick else Settings(), num_threads=threads)
    with policy.look(found[0]) as bundle:
        result = run_on(where, found[0], settings=settings, policy=policy)
        if not result.passed:
            raise VerificationError(f"{bundle.name} does not give its golden answers on {where}. Do not use it there")
        measured = result.measured(bundle.manifest, settings)
        table = from_bundles([bundle.manifest.only()], [measured], measured)
    if printing.save_to is not None:
        measurement.save(table, [measured], printing.save_to)
    if printing.as_json:
        print_json(to_plain(table) | {"device": to_plain(result.machine)})
        return
    err.print(f"On {escape(result.machine.processor)}, {escape(result.machine.system)}:", soft_wrap=True)
    print_measurement(table, details=printing.details)
