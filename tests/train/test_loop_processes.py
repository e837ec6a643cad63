"""Several processes, started by torchrun: what they train together is what one process trains."""

import json
import os
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from conftest import HELPERS, ROOT
from safetensors.torch import load_file
from small_digits import CONFIG, MODEL, plain_net, train

from edgekit.train.checkpoint import read_run

SCRIPT = """
import sys
from dataclasses import replace
from pathlib import Path
from small_digits import CONFIG, MODEL, plain_net, train

config = replace(CONFIG, epochs=2, batch_size=53)  # the last batch of 320 has 2 samples, one for each process
result = train(Path(sys.argv[1]), model=replace(MODEL, build=plain_net), config=config)
"""


@pytest.mark.slow
def test_two_processes_train_what_one_does(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(script)]
    environment = os.environ | {"PYTHONPATH": f"{HELPERS}{os.pathsep}{ROOT}", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, str(tmp_path / "two")], env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr

    config = replace(CONFIG, epochs=2, batch_size=53)
    one = train(tmp_path / "one", model=replace(MODEL, build=plain_net), config=config)
    two = read_run(tmp_path / "two")
    assert json.loads((tmp_path / "two" / "run.json").read_text())["config"]["batch_size"] == 53
    for mine, theirs in zip(one.record.curve, two.curve, strict=True):
        assert abs(mine.loss - theirs.loss) < 1e-5
    weights = load_file(tmp_path / "two" / "weights.safetensors")
    for key, value in load_file(one.weights).items():
        assert torch.allclose(value, weights[key], atol=1e-5), key
