"""Every rule of a valid measurement: driven by files in a folder like /proc and /sys, and by a recorded reading."""

from dataclasses import replace

import numpy as np
import pytest
from conftest import ROOT

from edgekit.edge_runtime.benchmark import validity
from edgekit.edge_runtime.benchmark.benchmark_result import QUICK, Settings
from edgekit.edge_runtime.benchmark.judgement import Limits
from edgekit.edge_runtime.benchmark.table import MORE, NARROW, WIDE
from edgekit.edge_runtime.benchmark.validity import candidate_reasons, machine_reasons, other_cpu, unchecked
from edgekit.edge_runtime.machine.machine_state import MachineState, Reading, machine_state, read_counters

# A quiet virtual machine of two cores, as it was read before and after a benchmark of ten seconds.
BEFORE = Reading(
    at_s=2043.37, own_cpu_s=0.63, busy_cpu_s=1931.9, steal_s=8.12, waiting_s=461.87, swapped_pages=0, throttled=4,
    quota_stops=2, fastest_core_khz=3_400_000, hottest_c=61.0, load_1min=0.4,
)  # fmt: skip
AFTER = replace(BEFORE, at_s=2053.37, own_cpu_s=10.43, busy_cpu_s=1942.2, waiting_s=461.9)


def reasons(*, num_threads: int = 1, on_battery: bool | None = None, governor: str = "", **later) -> tuple[str, ...]:
    readings = (BEFORE, replace(AFTER, **later))
    seen = MachineState(readings=readings, cores=2, governor=governor, on_battery=on_battery)
    return machine_reasons(seen, num_threads=num_threads)


@pytest.fixture
def root(tmp_path):
    """A folder with the counters of a machine of one core, on its battery."""
    files = {
        "proc/stat": "cpu  100 10 40 9000 5 1 2 30 0 0\ncpu0 1 2 3",
        "proc/pressure/cpu": "some avg10=1.4 avg60=1.8 avg300=0.9 total=2500000\nfull avg10=0 avg60=0 avg300=0 total=7",
        "proc/vmstat": "nr_free_pages 12\npswpin 3\npswpout 4\npgmajfault 9",
        "sys/fs/cgroup/cpu.stat": "usage_usec 5\nnr_throttled 11\nthrottled_usec 3",
        "proc/loadavg": "0.37 0.38 0.32 1/90 6136",
        "proc/77/stat": "77 (a name) S 1 77 77 0 -1 0 0 0 0 0 150 50 0 0 20 0",
        "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq": "1800000",
        "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "powersave",
        "sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle_count": "5",
        "sys/class/thermal/thermal_zone0/temp": "48500",
        "sys/class/power_supply/BAT0/type": "Battery",
        "sys/class/power_supply/BAT0/status": "Discharging",
    }
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    return tmp_path


def test_counters_are_read_from_their_files(root):
    found = read_counters([77, 78], root=root)
    assert (found.busy_cpu_s, found.steal_s) == (1.53, 0.30)
    assert (found.waiting_s, found.swapped_pages, found.throttled) == (2.5, 7, 5)
    assert found.quota_stops == 11
    assert (found.fastest_core_khz, found.hottest_c, found.load_1min) == (1_800_000, 48.5, 0.37)
    assert found.own_cpu_s - read_counters([], root=root).own_cpu_s == pytest.approx(2.0, abs=0.05)
    assert (machine_state([found], root=root).governor, machine_state([found], root=root).on_battery) == (
        "powersave",
        True,
    )


def test_where_nothing_is_shown_nothing_is_guessed(tmp_path):
    found = machine_state([read_counters(root=tmp_path), read_counters(root=tmp_path)], root=tmp_path)
    assert unchecked(found) == ("other programs", "waiting for a CPU", "swapping", "frequency", "heat")
    assert (machine_reasons(found), other_cpu(found), found.on_battery) == ((), None, None)


def test_damaged_counters_are_no_counters(root):
    for name in ("proc/stat", "proc/pressure/cpu", "proc/vmstat", "sys/class/thermal/thermal_zone0/temp"):
        (root / name).write_text("??\n")
    found = read_counters(root=root)
    assert (found.busy_cpu_s, found.waiting_s, found.swapped_pages, found.hottest_c) == (None, None, None, None)


def test_a_quiet_machine_gives_no_reason():
    assert reasons() == ()
    assert other_cpu(MachineState(readings=(BEFORE, AFTER), cores=2)) == pytest.approx(0.025, abs=0.001)


@pytest.mark.parametrize(
    ("later", "said"),
    [
        ({"busy_cpu_s": 1945.0}, "other programs used 16 % of the machine's CPU time: stop them"),
        (
            {"steal_s": 8.72},
            "the host of this virtual machine kept 3 % of its CPU time: measure on a physical machine",
        ),
        ({"waiting_s": 464.0}, "tasks waited for a CPU 21 % of the time: stop other programs"),
        ({"swapped_pages": 1200}, "1,200 pages were swapped in or out: close programs"),
        ({"quota_stops": 9}, "the container's CPU quota ran out 7 times: raise the quota, or remove it"),
        ({"throttled": 7}, "a hot core was slowed down 3 times: let the machine cool"),
        ({"fastest_core_khz": 2_800_000}, "the CPU frequency varied from 2.8 to 3.4 GHz: let the machine cool"),
        ({"on_battery": True}, "the machine ran on its battery, which limits the CPU: plug it in"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else None,
)
def test_each_disturbance_is_named_with_what_to_do(later, said):
    found = reasons(**later)
    assert len(found) == 1
    assert said in found[0]


def test_a_governor_that_saves_power_is_named_where_the_frequency_changed():
    assert "its governor is powersave" in reasons(fastest_core_khz=2_000_000, governor="powersave")[0]
    assert reasons(governor="powersave") == ()


def test_more_threads_than_cores_wait_for_each_other():
    assert reasons(waiting_s=470.0, num_threads=4) == ()


def rounds(*medians_us: float, count: int = 1000) -> list[np.ndarray]:
    return [np.full(count, int(us * 1000)) for us in medians_us]


def test_a_candidate_is_valid_or_says_why_not():
    assert candidate_reasons(rounds(*[100] * 6), cpu_share=0.99) == ()
    assert (
        "too short, at least 300 runs and 0.5 s are needed" in candidate_reasons(rounds(*[100] * 4), cpu_share=1.0)[0]
    )
    assert "too short" in candidate_reasons(rounds(*[100_000] * 5, count=10), cpu_share=1.0)[0]
    assert candidate_reasons(rounds(100, 100, 125, 125), cpu_share=1.0)[-1].startswith("its rounds differ by 22 %")
    assert candidate_reasons(rounds(*[100] * 6), cpu_share=0.8)[0].startswith("it got only 80 % of the CPU time")


def test_the_documentation_says_these_limits():
    text = " ".join((ROOT / "docs" / "BENCHMARKING.md").read_text().split())
    said = [
        f"{validity.MIN_SAMPLES} runs and {validity.MIN_MEASURED_S} s of them; `--quick` never is",
        f"the middle half of the rounds within {validity.MAX_SPREAD * 100:.0f} %",
        f"{validity.MIN_CPU_SHARE * 100:.0f} % of its own time",
        f"at most {validity.MAX_OTHER_CPU * 100:.0f} % of the machine's CPU time",
        f"nobody waits for a CPU over {validity.MAX_WAITING * 100:.0f} % of the time",
        f"its host keeps at most {validity.MAX_STEAL * 100:.0f} %",
        f"changes by at most {validity.MAX_FREQUENCY_CHANGE * 100:.0f} %",
        f"A p99 of fewer than {validity.MIN_SAMPLES_P99} runs is not shown",
        f"round by round ({Settings().rounds} of them)",
        f"for {Settings().round_ms} ms",
        f"by more than {Limits().max_slower * 100:.0f} % (`--max-slower`)",
        f"larger by {Limits().max_larger * 100:.0f} %, {Limits().max_more_memory * 100:.0f} % more memory",
        f"every cold start {Limits().max_slower_start * 100:.0f} % slower",
        f"beyond noise and by more than {Limits().max_drop * 100:.0f} %.",
    ]
    assert [words for words in said if words not in text] == []
    assert candidate_reasons(rounds(*[100] * QUICK.rounds, count=QUICK.min_samples), cpu_share=1.0) != ()


def test_the_documentation_explains_every_column():
    text = (ROOT / "docs" / "BENCHMARKING.md").read_text()
    names = {name.removesuffix(" [95 %]") for name in (*NARROW, *MORE, *WIDE)} - {"model file", "size", "peak RSS"}
    assert [name for name in names if name not in text] == []
