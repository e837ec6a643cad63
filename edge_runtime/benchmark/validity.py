"""When a measurement may be quoted: the rules, each with advice. Judges readings and raw samples; reads nothing.

MLPerf Inference has the same kinds of rules and longer times: 600 s for each scenario (`min_duration` in its
mlperf.conf), and no percentile without the samples that its early stopping requires. Ours are short enough to wait for,
so a result here is not an MLPerf result.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..format import count_text, percent_text
from ..machine.machine_state import MachineState, Reading
from .stats import spread

# For each candidate.
MIN_SAMPLES = 300
MIN_MEASURED_S = 0.5
MAX_SPREAD = 0.10
MIN_CPU_SHARE = 0.90
# The fewest samples from which MLPerf's early stopping estimates a 99th percentile (mlperf.conf, MultiStream).
MIN_SAMPLES_P99 = 662

# For the machine, while all candidates ran.
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
        needed = f"at least {MIN_SAMPLES} runs and {MIN_MEASURED_S} s are needed"
        reasons.append(f"too short, {needed}: measure again without --quick")
    if (drift := spread(rounds_wall_ns)) > MAX_SPREAD:
        reasons.append(f"its rounds differ by {percent_text(drift, 0)}: stop other programs and measure again")
    if cpu_share < MIN_CPU_SHARE:
        share = percent_text(cpu_share, 0)
        reasons.append(f"it got only {share} of the CPU time it needed: stop the programs that compete with it")
    return tuple(reasons)


def machine_reasons(state: MachineState, *, num_threads: int = 1) -> tuple[str, ...]:
    """What disturbed the machine, with advice, as far as its counters show; empty when nothing did."""
    if len(state.readings) < 2:
        return ()
    first, last = state.readings[0], state.readings[-1]
    elapsed_s = last.at_s - first.at_s
    reasons = []
    other = other_cpu(state)
    if other is not None and other > MAX_OTHER_CPU:
        reasons.append(
            f"other programs used {percent_text(other, 0)} of the machine's CPU time: stop them and measure again"
        )
    stolen = _difference(first.steal_s, last.steal_s)
    if stolen is not None and (kept := stolen / elapsed_s / state.cores) > MAX_STEAL:
        reasons.append(
            f"the host of this virtual machine kept {percent_text(kept, 0)} of its CPU time: measure on a physical "
            "machine, or at a quieter time"
        )
    waiting = _difference(first.waiting_s, last.waiting_s)
    # More threads than cores wait for each other, and that is what was asked for.
    if waiting is not None and not reasons and num_threads <= state.cores and waiting / elapsed_s > MAX_WAITING:
        reasons.append(
            f"tasks waited for a CPU {percent_text(waiting / elapsed_s, 0)} of the time: stop other programs"
        )
    swapped = _difference(first.swapped_pages, last.swapped_pages)
    if swapped:
        reasons.append(f"{swapped:,.0f} pages were swapped in or out: close programs, or add memory")
    stops = _difference(first.quota_stops, last.quota_stops)
    if stops:
        reasons.append(
            f"the container's CPU quota ran out {count_text(int(stops), 'time')}: raise the quota, or remove it"
        )
    throttled = _difference(first.throttled, last.throttled)
    if throttled:
        reasons.append(
            f"a hot core was slowed down {count_text(int(throttled), 'time')}: let the machine cool, then measure"
        )
    speeds = [reading.fastest_core_khz for reading in state.readings if reading.fastest_core_khz]
    if speeds and min(speeds) < max(speeds) * (1 - MAX_FREQUENCY_CHANGE):
        governor = f" (its governor is {state.governor})" if state.governor not in ("", "performance") else ""
        reasons.append(
            f"the CPU frequency varied from {min(speeds) / 1e6:.2g} to {max(speeds) / 1e6:.2g} GHz{governor}: let the "
            "machine cool, and run cpupower frequency-set --governor performance"
        )
    if state.on_battery:
        reasons.append("the machine ran on its battery, which limits the CPU: plug it in")
    return tuple(reasons)


def unchecked(state: MachineState) -> tuple[str, ...]:
    """What could not be checked, because this machine does not show it: frequency, heat, …"""
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
    """Share of all cores' time that went to other programs; None where the machine does not show it."""
    first, last = state.readings[0], state.readings[-1]
    busy, own = _difference(first.busy_cpu_s, last.busy_cpu_s), last.own_cpu_s - first.own_cpu_s
    if busy is None:
        return None
    return max(0.0, busy - own) / (last.at_s - first.at_s) / state.cores


def _difference(before: float | None, after: float | None) -> float | None:
    return None if before is None or after is None else after - before
