"""Energy counters of a made-up powercap folder: packages and nothing else, wraparound, and each reason for none."""

import os
import tempfile
from pathlib import Path

import pytest

from edgekit.edge_runtime.machine.energy import EnergyMeter


def zone(powercap, name: str, kind: str, uj: int, *, range_uj: int = 1000):
    folder = powercap / name
    folder.mkdir(parents=True)
    (folder / "name").write_text(f"{kind}\n")
    (folder / "energy_uj").write_text(f"{uj}\n")
    (folder / "max_energy_range_uj").write_text(f"{range_uj}\n")
    return folder / "energy_uj"


def test_packages_are_added_up_and_their_parts_are_not(tmp_path):
    zone(tmp_path, "intel-rapl:0", "package-0", 100)
    zone(tmp_path, "intel-rapl:1", "package-1", 200)
    for name, kind in (("intel-rapl:0:0", "core"), ("intel-rapl:2", "psys"), ("intel-rapl-mmio:0", "package-0")):
        zone(tmp_path, name, kind, 999)
    meter = EnergyMeter.find(tmp_path)
    assert (meter.read_uj(), meter.missing) == ((100, 200), "")
    assert meter.used_uj((100, 200), (150, 260)) == 110


def test_a_counter_that_wraps_around_is_understood(tmp_path):
    counter = zone(tmp_path, "intel-rapl:0", "package-0", 990)
    meter = EnergyMeter.find(tmp_path)
    before = meter.read_uj()
    counter.write_text("25")
    assert meter.used_uj(before, meter.read_uj()) == 35


def test_without_a_counter_it_says_why(tmp_path):
    (tmp_path / "empty").mkdir()
    zone(tmp_path / "broken", "intel-rapl:0", "package-0", 1).write_text("not a number")
    assert "no powercap folder" in EnergyMeter.find(tmp_path / "nowhere").missing
    assert "no counter of a processor package" in EnergyMeter.find(tmp_path / "empty").missing
    assert "no counter of a processor package" in EnergyMeter.find(tmp_path / "broken").missing
    assert EnergyMeter.find(tmp_path / "empty").read_uj() == ()


@pytest.mark.skipif(not hasattr(os, "seteuid"), reason="this system has no users to change between")
def test_a_counter_for_root_alone_is_named():
    with tempfile.TemporaryDirectory() as folder:
        zone(Path(folder), "intel-rapl:0", "package-0", 1).chmod(0)
        Path(folder).chmod(0o755)
        user = os.geteuid()
        try:
            if user == 0:  # root reads every file
                os.seteuid(65534)
            found = EnergyMeter.find(Path(folder))
        finally:
            os.seteuid(user)
    assert "only root may read" in found.missing
    assert found.zones == ()
