"""The classifier, the U-Net and the fine-tuned net through the one loop, on a store of small synthetic scans."""

import os
import subprocess
import sys
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from conftest import HELPERS, ROOT
from safetensors.torch import load_file
from small_luna import CONFIG, ONE_EPOCH, make_store, steady, train

from edgekit.cli.train import summary, train_model
from edgekit.edge_runtime.command_line import EDGEKIT
from edgekit.edge_runtime.errors import InputError, Interrupted, MissingData, UsageError
from edgekit.edge_runtime.files import sha256_file
from edgekit.train.checkpoint import read_run
from edgekit.train.data import luna_sets
from edgekit.train.data.luna_store import prepare, read_index
from edgekit.train.data.synthetic_ct import write_scans
from edgekit.train.loop.early_stopping import is_best
from edgekit.train.loop.epoch import LOSSES
from edgekit.train.loop.fit import fit
from edgekit.train.models import luna_classifier, luna_malignancy, luna_unet


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return make_store(tmp_path_factory.mktemp("luna"))


def test_the_sets_of_a_store(store):
    nodules, malignancy, segments = (
        make(store) for make in (luna_sets.nodules, luna_sets.malignancy, luna_sets.segments)
    )
    assert isinstance(nodules.train.inputs, np.memmap)
    assert nodules.validation.inputs.dtype == np.float32
    assert nodules.train.targets.sum() == len(segments.train)
    assert (malignancy.train.targets == (malignancy.train.kinds == 2)).all()
    assert len(malignancy.validation) == nodules.validation.targets.sum()
    assert segments.train.targets.shape[1:] == (1, 96, 96)
    assert "SYNTHETIC" in nodules.origin
    assert nodules.sha256() == segments.sha256() == nodules.fingerprint


def test_samples_of_one_scan_are_one_group(store):
    index = read_index(store)
    for made, array in ((luna_sets.nodules(store), "crops"), (luna_sets.segments(store), "segments")):
        uids, counts = np.unique(made.validation.groups, return_counts=True)
        cut = {scan.uid: getattr(scan, array) for scan in index.scans if scan.part == "validation"}
        assert dict(zip(uids.tolist(), counts.tolist(), strict=True)) == cut
    judged = luna_sets.malignancy(store).validation
    assert len(judged.groups) == len(judged) < len(luna_sets.nodules(store).validation)


def test_malignancy_asks_for_both_kinds_before_it_trains(tmp_path):
    write_scans(tmp_path / "scans", 2, seed=1, slices=48, side=112, others=2)
    prepare(tmp_path / "scans", tmp_path / "store")
    luna_sets.nodules(tmp_path / "store")
    with pytest.raises(
        InputError, match=r"the (train|validation) split of .* has no (benign|malignant) nodules\. Prepare"
    ):
        luna_sets.malignancy(tmp_path / "store")


def test_a_run_reports_precision_recall_and_f1_and_ends_with_its_best_epoch(store, tmp_path):
    result = train(tmp_path, store)
    curve = result.record.curve
    assert list(curve[0].validation) == ["accuracy", "precision", "recall", "f1"]
    best = max(curve, key=lambda epoch: epoch.validation["f1"])
    assert result.record.value == pytest.approx(best.validation["accuracy"])
    assert sha256_file(result.weights) == sha256_file(tmp_path / "best.safetensors")
    said = summary(luna_classifier.MODEL, result, next_command="")
    assert f"kept epoch {best.epoch} of 2, the best by f1" in said
    assert f"also:    f1 {best.validation['f1']:.4f}" in said


def test_a_resumed_run_repeats_an_uninterrupted_one(store, tmp_path):
    def stop(record):
        raise KeyboardInterrupt

    with pytest.raises(Interrupted):
        train(tmp_path / "two", store, on_epoch=stop)
    resumed, whole = train(tmp_path / "two", store, go_on=True), train(tmp_path / "one", store)
    assert resumed.trained_epochs == 1
    assert sha256_file(resumed.weights) == sha256_file(whole.weights)


def test_the_first_of_equally_good_epochs_is_kept():
    curve = [type("Epoch", (), {"validation": {"f1": value}}) for value in (0.2, 0.5)]
    assert [is_best({"f1": value}, curve, "f1") for value in (0.5, 0.6)] == [False, True]
    assert is_best({"f1": 0.0}, [], "f1")


SCRIPT = """
import sys
from pathlib import Path
from small_luna import ONE_EPOCH, steady, train

train(Path(sys.argv[1]), Path(sys.argv[2]), build=steady, config=ONE_EPOCH)
"""


def test_two_processes_train_the_classifier_to_the_weights_of_one(store, tmp_path):
    """Each takes half of every batch; the one process has the whole batch, so twice the size of a share."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(script)]
    environment = os.environ | {"PYTHONPATH": f"{HELPERS}{os.pathsep}{ROOT}", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, str(tmp_path / "two"), str(store)], env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    one, two = train(tmp_path / "one", store, build=steady, config=ONE_EPOCH), read_run(tmp_path / "two")
    assert [epoch.loss for epoch in two.curve] == pytest.approx([epoch.loss for epoch in one.record.curve], rel=1e-4)
    weights = load_file(tmp_path / "two" / "weights.safetensors")
    for key, value in load_file(one.weights).items():
        assert torch.allclose(value, weights[key], atol=1e-5), key


def test_the_unet_learns_masks_and_is_kept_by_f1(store, tmp_path):
    model = replace(luna_unet.MODEL, data=partial(luna_sets.segments, store))
    config = replace(model.fit, epochs=2, batch_size=4, epoch_samples=8, cpu_threads=1)
    record = fit(model, tmp_path, config=config, device="cpu").record
    curve = record.curve
    assert list(curve[0].validation) == ["dice", "precision", "recall", "f1"]
    assert 0 < curve[1].loss < 9
    best = max(curve, key=lambda epoch: epoch.validation["f1"])
    assert record.value == pytest.approx(best.validation["dice"])


def test_the_books_segmentation_loss_weighs_misses_eight_times():
    truth = torch.zeros(1, 1, 2, 2)
    truth[0, 0, 0] = 1
    everything, nothing = torch.ones_like(truth), torch.zeros_like(truth)
    loss = LOSSES["segmentation"]
    assert float(loss(truth, truth)) == pytest.approx(0)
    assert float(loss(everything, truth)) == pytest.approx(1 - 5 / 7)
    assert float(loss(nothing, truth)) == pytest.approx(9 * (1 - 1 / 3))


def test_fine_tuning_changes_what_is_not_frozen(store, tmp_path, data_root):
    if not (data_root / "book" / luna_malignancy.PUBLISHED).is_file():
        pytest.skip(f"the published classifier is not in {data_root}")
    model = replace(luna_malignancy.MODEL, data=partial(luna_sets.malignancy, store))
    config = replace(model.fit, epochs=1, batch_size=4, epoch_samples=4, cpu_threads=1)
    record = fit(model, tmp_path, config=config, device="cpu").record
    assert list(record.curve[0].validation) == ["accuracy", "auc"]
    start, after = luna_classifier.LunaClassifier(), load_file(tmp_path / "weights.safetensors")
    luna_malignancy.start_from_nodules(start, torch.zeros(0))
    changed = {key.split(".")[0] for key, value in start.state_dict().items() if not torch.equal(value, after[key])}
    assert changed == {"block4", "head_linear"}


@pytest.mark.parametrize(("model", "learning"), [(luna_malignancy.HEAD, 2_306), (luna_malignancy.MODEL, 168_322)])
def test_what_learns_when_fine_tuning(model, learning):
    module = model.build()
    assert sum(p.numel() for p in module.parameters() if p.requires_grad) == learning
    assert not module.train().tail_batchnorm.training


@pytest.mark.parametrize(
    ("name", "number", "why"), [("birds_cnn", 5, "takes each sample once"), ("luna_unet", 0, "at least 1 is needed")]
)
def test_the_length_of_an_epoch_is_for_crops_alone(name, number, why):
    with pytest.raises(UsageError, match=f"--epoch-samples {number}: .*{why}"):
        train_model(name, epoch_samples=number)


def test_without_a_store_training_says_how_to_make_one(tmp_path):
    with pytest.raises(MissingData, match=f"there are no prepared scans in .* run: {EDGEKIT} luna prepare DIR"):
        train(tmp_path, tmp_path / "none")
    assert CONFIG.balance == "nodules"
