"""Threads and batches varied: which candidates that makes, a real sweep of a tiny bundle, and what is refused."""

import onnx
import pytest
from tiny_bundle import SIDE, change_manifest, make_bundle, onnx_model, quarter_weights

from edgekit.cli.benchmark import Printing, benchmark
from edgekit.edge_runtime.benchmark.measure import bundle_candidate
from edgekit.edge_runtime.benchmark.measurement import load, load_raw
from edgekit.edge_runtime.benchmark.scaling import Sweep, doublings, expand, parse_counts
from edgekit.edge_runtime.bundle.manifest import BatchRange, OutputSpec, TensorSpec
from edgekit.edge_runtime.errors import UsageError


@pytest.fixture(scope="module")
def fixed(tmp_path_factory):
    return make_bundle(tmp_path_factory.mktemp("fixed"), name="quarters-onnx-fp32")


@pytest.fixture(scope="module")
def free(tmp_path_factory):
    """The same bundle, its batch free from 1 to 8."""
    model = onnx.load_from_string(onnx_model(quarter_weights()))
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "N"
    folder = tmp_path_factory.mktemp("free")
    path = make_bundle(folder, name="quarters-free-fp32", model_bytes=model.SerializeToString())
    batch = BatchRange(min=1, max=8)
    return change_manifest(
        path,
        inputs=(TensorSpec(name="image", dtype="uint8", shape=(1, SIDE, SIDE, 1), batch=batch),),
        outputs=(OutputSpec(name="probabilities", dtype="float32", shape=(1, 4), batch=batch, holds="probabilities"),),
    )


def test_numbers_are_read_and_doubled():
    assert parse_counts("1, 2,8", "--threads") == (1, 2, 8)
    assert [doublings(cores) for cores in (1, 2, 6, 8)] == [(1,), (1, 2), (1, 2, 4, 6), (1, 2, 4, 8)]


@pytest.mark.parametrize("text", ["", "0", "1,1", "-1", "two", "1;2", "1.5", "99999999"])
def test_what_is_no_count_is_refused(text):
    with pytest.raises(UsageError, match="--batch takes different whole numbers from 1 upwards, such as 1,2,4"):
        parse_counts(text, "--batch")


def test_scaling_and_threads_are_not_mixed():
    assert Sweep.asked(threads="1", scaling=True, batch="1").threads[0] == 1
    with pytest.raises(UsageError, match="leave out --threads"):
        Sweep.asked(threads="2", scaling=True, batch="1")


def test_each_axis_is_varied_alone(free, fixed):
    sweep = Sweep(threads=(1, 2), batches=(1, 4))
    found, names = expand([bundle_candidate(free), bundle_candidate(fixed)], sweep)
    assert [(c.name.removeprefix("quarters-"), c.num_threads, c.batch) for c in found] == [
        ("free-fp32", 1, 1),
        ("onnx-fp32", 1, 1),
        ("free-fp32, 2 threads", 2, 1),
        ("onnx-fp32, 2 threads", 2, 1),
        ("free-fp32, batch 4", 1, 4),
    ]
    assert names == ["quarters-onnx-fp32"]


def test_batches_that_no_bundle_takes_are_refused(free, fixed):
    with pytest.raises(UsageError, match="free batch axis.*--max-batch"):
        expand([bundle_candidate(fixed)], Sweep(batches=(1, 2)))
    with pytest.raises(UsageError, match="runs batches of 1 to 8, found --batch 16"):
        expand([bundle_candidate(free)], Sweep(batches=(1, 16)))


def test_a_sweep_is_measured_kept_and_shown(free, tmp_path, capsys):
    sweep, path = Sweep(threads=(1, 2), batches=(1, 8)), tmp_path / "results.json"
    benchmark([free], quick=True, sweep=sweep, printing=Printing(save_to=path, details=True))
    measured, text = load(path), capsys.readouterr().out
    assert [(p.num_threads, p.batch) for p in measured.scaling] == [(2, 1), (1, 8)]
    batch = measured.scaling[1]
    assert batch.throughput.value > 2  # one call costs most of the time of so small a model
    assert batch.throughput.low <= batch.throughput.value <= batch.throughput.high
    assert "quarters-free-fp32, batch 8" in load_raw(path).rounds_p50_ms
    assert "inferences per second, by threads" in text
    assert "inferences per second, by batch" in text
    assert "not valid" in text
