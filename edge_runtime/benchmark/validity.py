"""When a measurement may be quoted: the rules, each with what to do. Judges readings and raw samples; reads nothing.

MLPerf Inference has the same kinds of rules and longer times: 600 s for each scenario (`min_duration` in its
mlperf.conf), and no percentile without the samples that its early stopping asks for. Ours are short enough to sit
through, so a result here is no MLPerf result.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..machine.machine_state import MachineState, Reading
from .stats import spread

# A candidate's own.
MIN_SAMPLES = 300
MIN_MEASURED_S = 0.5
MAX_SPREAD = 0.10
MIN_CPU_SHARE = 0.90
# The fewest samples from which MLPerf's early stopping estimates a 99th percentile (mlperf.conf, MultiStream).
MIN_SAMPLES_P99 = 662

# The machine's, while all candidates ran.
MAX_OTHER_CPU = 0.10  # of all cores together
MAX_STEAL = 0.02  # of all cores together
MAX_WAITING = 0.10  # of the time
MAX_FREQUENCY_CHANGE = 0.10


def candidate_reasons(rounds_wall_ns: Sequence[np.ndarray], *, cpu_share: float) -> tuple[str, ...]:
    """Why one candidate's figures should not be quoted, with advice; empty when they may be."""
    wall_ns = np.concatenate(rounds_wall_ns)
    seconds = float(wall_ns.sum()) / 1e9
    reasons = []
    if len(wall_ns) < MIN_SAMPLES or seconds < MIN_MEASURED_S:
        due = f"{MIN_SAMPLES} runs and {MIN_MEASURED_S} s of them"
        reasons.append(f"too short, where {due} are due: measure for longer, without --quick")
    if (drift := spread(rounds_wall_ns)) > MAX_SPREAD:
        reasons.append(f"rounds differ by {drift:.0%}: stop other programs and measure again")
    if cpu_share < MIN_CPU_SHARE:
        reasons.append(f"had the CPU {cpu_share:.0%} of the time: another process is using it")
    return tuple(reasons)


def machine_reasons(state: MachineState, *, num_threads: int = 1) -> tuple[str, ...]:
    """Why the machine was not fit to measure on, with advice, as far as it can be seen; empty when nothing was seen."""
    if len(state.readings) < 2:
        return ()
    first, last = state.readings[0], state.readings[-1]
    elapsed_s = last.at_s - first.at_s
    reasons = []
    other = other_cpu(state)
    if other is not None and other > MAX_OTHER_CPU:
        reasons.append(f"other programs used {other:.0%} of the machine's CPU time: stop them and measure again")
    stolen = _difference(first.steal_s, last.steal_s)
    if stolen is not None and stolen / elapsed_s / state.cores > MAX_STEAL:
        reasons.append(
            f"the host of this virtual machine kept {stolen / elapsed_s / state.cores:.0%} of its CPU time: measure on "
            "a machine of your own, or when its neighbours are quiet"
        )
    waiting = _difference(first.waiting_s, last.waiting_s)
    # With more threads than cores they wait for each other, and that is what was asked for.
    if waiting is not None and not reasons and num_threads <= state.cores and waiting / elapsed_s > MAX_WAITING:
        reasons.append(f"tasks waited for a CPU {waiting / elapsed_s:.0%} of the time: stop other programs")
    swapped = _difference(first.swapped_pages, last.swapped_pages)
    if swapped:
        reasons.append(f"{swapped:,.0f} pages were swapped in or out: close programs or give the machine more memory")
    stops = _difference(first.quota_stops, last.quota_stops)
    if stops:
        reasons.append(f"the container's CPU quota ran out {stops:.0f} times: give it more CPU, or no quota")
    throttled = _difference(first.throttled, last.throttled)
    if throttled:
        reasons.append(f"a core was slowed down {throttled:.0f} times because it was hot: let it cool, then measure")
    speeds = [reading.fastest_core_khz for reading in state.readings if reading.fastest_core_khz]
    if speeds and min(speeds) < max(speeds) * (1 - MAX_FREQUENCY_CHANGE):
        governor = f" (its governor is {state.governor})" if state.governor not in ("", "performance") else ""
        reasons.append(
            f"the CPU's frequency went from {min(speeds) / 1e6:.2g} to {max(speeds) / 1e6:.2g} GHz{governor}: let it "
            "cool, and set the governor: cpupower frequency-set --governor performance"
        )
    if state.on_battery:
        reasons.append("the machine ran on its battery, which limits the CPU: plug it in")
    return tuple(reasons)


def unchecked(state: MachineState) -> tuple[str, ...]:
    """What this machine does not show, so that nobody knows it: frequency, heat, …"""
    last = state.readings[-1] if state.readings else Reading(at_s=0.0, own_cpu_s=0.0)
    hidden = {
        "other programs": last.busy_cpu_s,
        "waiting for a CPU": last.waiting_s,
        "swapping": last.swapped_pages,
        "frequency": last.fastest_core_khz,
        "heat": last.throttled,
    }
    return tuple(name for name, value in hidden.items() if value is None)


def other_cpu(state: MachineState) -> float | None:
    """Share of all cores' time that went to other programs; None where the machine does not tell."""
    first, last = state.readings[0], state.readings[-1]
    busy, own = _difference(first.busy_cpu_s, last.busy_cpu_s), last.own_cpu_s - first.own_cpu_s
    if busy is None:
        return None
    return max(0.0, busy - own) / (last.at_s - first.at_s) / state.cores


def _difference(before: float | None, after: float | None) -> float | None:
    return None if before is None or after is None else after - before
