"""A free batch, two inputs and outputs, whole numbers: the same through every exporter and engine."""

import numpy as np
import pytest
import torch
from pair_model import Pair, answers, pair_arrays, pair_model, unproven_bundle

from edgekit.edge_runtime.bundle.bundle import Bundle
from edgekit.edge_runtime.engines import RUNS_CODE, load
from edgekit.edge_runtime.errors import ExportError, InputError, UsageError, VerificationError
from edgekit.edge_runtime.worker.replay import replay
from edgekit.optimize.exporters import EXPORTERS
from edgekit.optimize.pack import pack_bundle
from edgekit.optimize.recipes import RECIPES
from edgekit.optimize.verify import FloatReference

EVERY = [name for name, exporter in EXPORTERS.items() if exporter.by_default]  # the others compile: test_aot


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(params=EVERY)
def engine(pair_bundles, request):
    with load(Bundle.open(pair_bundles[1][request.param]), allow=RUNS_CODE) as engine:
        yield engine


def test_any_batch_within_the_bounds_gives_each_rows_own_answer(pair_bundles, engine):
    for rows in (1, 8, 3, 1):
        arrays = pair_arrays(rows, seed=rows)
        found, wanted = engine.run(arrays), answers(pair_bundles[0], arrays)
        assert list(found) == ["probabilities", "odd"]
        assert np.abs(found["probabilities"] - wanted["probabilities"]).max() < 1e-6
        assert np.array_equal(found["odd"], wanted["odd"])


def test_another_batch_is_refused_with_the_range(engine):
    with pytest.raises(InputError, match="'features' has a batch of 9; this bundle takes 1 to 8. Split the batch"):
        engine.run(pair_arrays(9))
    with pytest.raises(InputError, match="batch of 0; this bundle takes 1 to 8. Give it at least one row"):
        engine.run(pair_arrays(0))
    uneven = {"features": pair_arrays(2)["features"], "tokens": pair_arrays(3)["tokens"]}
    with pytest.raises(InputError, match="'tokens' has a batch of 3, another input one of 2. Give both the same"):
        engine.run(uneven)
    assert engine.run(pair_arrays(2))["odd"].shape == (2, 5)


@pytest.mark.parametrize("rows", [(1, 2), (2, 1)])
def test_one_row_beside_several_is_refused(engine, rows):
    first, second = rows
    uneven = {"features": pair_arrays(first)["features"], "tokens": pair_arrays(second)["tokens"]}
    with pytest.raises(InputError, match="has a batch of 1, another input one of 2"):
        engine.run(uneven)


def test_answers_are_the_callers_own(engine):
    arrays = pair_arrays(2)
    first = engine.run(arrays)
    kept = {name: array.copy() for name, array in first.items()}
    engine.run(pair_arrays(2, seed=5))
    assert all(np.array_equal(first[name], kept[name]) for name in kept)
    assert not any(np.shares_memory(out, array) for out in first.values() for array in arrays.values())


def test_a_fixed_bundle_takes_its_one_shape(tmp_path):
    bundle = Bundle.open(unproven_bundle(pair_model(), "onnx", tmp_path / "fixed"))
    assert bundle.manifest.batch is None
    assert b'"batch"' not in bundle.manifest.to_bytes()
    with load(bundle) as engine, pytest.raises(InputError, match=r"should be float32 \[1, 6\], found float32 \[2, 6\]"):
        engine.run(pair_arrays(2))


def test_packing_proves_a_larger_batch_and_replay_does_so_again(tmp_path):
    model = pair_model(max_batch=8)
    folder = pack_bundle(model, EXPORTERS["onnx"], RECIPES["fp32"], tmp_path, reference=FloatReference.of(model)).path
    stages = [(stage.stage, stage.compared_with, stage.passed) for stage in Bundle.open(folder).manifest.stages]
    outputs = 2  # each is held on its own
    assert stages[-2 * outputs :] == [("reload", "eager", True)] * outputs + [("batch", "reload", True)] * outputs
    found = replay(folder)
    assert (found.passed, found.batch) == (True, 8)
    assert found.batch_sqnr_db > 100


class Mixes(Pair):
    """Each row's answer depends on the others: right one at a time, another one together."""

    def forward(self, features, tokens):
        return super().forward(features - 0.9 * features.mean(0, keepdim=True), tokens)


def test_a_model_that_mixes_its_rows_is_not_delivered(tmp_path):
    model = pair_model(max_batch=8, module=Mixes())
    with pytest.raises(VerificationError, match="stage 'batch' is wrong on real samples"):
        pack_bundle(model, EXPORTERS["onnx"], RECIPES["fp32"], tmp_path, reference=FloatReference.of(model))
    assert list(tmp_path.iterdir()) == []


class OneRow(Pair):
    """Says in its code that there is one row."""

    def forward(self, features, tokens):
        found, odd = super().forward(features, tokens)
        return found.reshape(1, 4), odd


@pytest.mark.parametrize("exporter", ["onnx", "executorch_xnnpack", "torchscript_traced"])
def test_an_exporter_that_cannot_free_the_batch_says_so(exporter, tmp_path):
    model = pair_model(module=OneRow(), max_batch=1)
    reference = FloatReference.of(model)
    with pytest.raises(ExportError, match=f"{exporter} could not export pair for batches of 1 to 8 as fp32: ."):
        pack_bundle(model.with_max_batch(8), EXPORTERS[exporter], RECIPES["fp32"], tmp_path, reference=reference)
    assert list(tmp_path.iterdir()) == []


def test_only_a_batch_axis_can_be_free():
    with pytest.raises(UsageError, match="largest batch should be 1 or more, found 0"):
        pair_model(max_batch=0)
