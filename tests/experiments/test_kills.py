"""Twenty kills of commands that need no torch: nothing half-made is offered, a rerun mends all, nothing is left."""

import pytest
from key_pair import write_pair
from tiny_bundle import make_bundle

from experiments.kills.commands import heavy_commands, light_commands
from experiments.kills.killing import kill_at_random

KILLS = {"pack": 11, "sign": 4, "verify": 5}


@pytest.mark.parametrize("name", KILLS)
def test_killed_at_any_moment_and_run_again(name, tmp_path):
    """All kills in one folder, then the rerun: they meet each other's leftovers too."""
    (tmp_path / "inputs").mkdir()
    commands = light_commands(make_bundle(tmp_path, name="x"), write_pair(tmp_path / "inputs", "maker"))
    (command,) = (one for one in commands if one.name == name)
    outcome = kill_at_random(
        command, KILLS[name], seed=18, place=tmp_path / "kills", kills_before_rerun=20, log=lambda line: None
    )
    assert outcome.faults == []
    assert len(outcome.moments_s) == KILLS[name] > outcome.ended_before


@pytest.mark.slow
@pytest.mark.parametrize("name", ["luna prepare", "nodules evaluate"])
def test_so_do_those_that_work_on_scans(name, tmp_path):
    (tmp_path / "inputs").mkdir()
    (command,) = (one for one in heavy_commands(tmp_path / "inputs") if one.name == name)
    outcome = kill_at_random(command, 2, seed=18, place=tmp_path / "kills", log=lambda line: None)
    assert outcome.faults == []
    assert len(outcome.moments_s) == 2
