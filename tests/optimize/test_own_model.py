"""A user's own module all the way: what is found out, what is proven and what is not, and bad input told plainly."""

import signal

import numpy as np
import pytest
import torch
from own_net import LABELS, Branching, Named, Net, NotANumber, TwoInTwoOut, pixels, probabilities
from torch import nn

from edgekit.cli.bundles import verify
from edgekit.cli.inspect import inspect
from edgekit.edge_runtime.bundle.bundle import Bundle
from edgekit.edge_runtime.engines import load
from edgekit.edge_runtime.errors import EdgekitError, ExportError, InputError, Interrupted, UsageError
from edgekit.optimize import optimize
from edgekit.optimize.combinations import combinations
from edgekit.optimize.deliver import deliver
from edgekit.optimize.events import BundleBegun
from edgekit.optimize.exporters import EXPORTERS
from edgekit.optimize.pack import pack_bundle
from edgekit.optimize.recipes import RECIPES
from edgekit.optimize.user_model.array_samples import Samples
from edgekit.optimize.user_model.model import own_model
from edgekit.optimize.user_model.request import Request
from edgekit.optimize.user_model.sources import Source
from edgekit.optimize.verify import FloatReference

resource = pytest.importorskip("resource")  # which Windows lacks

ONNX, FP32, W8A8 = EXPORTERS["onnx"], RECIPES["fp32"], RECIPES["w8a8_static"]
PLAIN = {"mean": (0.0,), "std": (1.0,)}


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def samples(count=24, seed=0, *, truth=False):
    found, targets = pixels(count, seed)
    return Samples(arrays={"x": found}, targets=targets if truth else None, words=f"{count} made by the test")


def source(module, name="net"):
    return Source(what=name, name=name, module=module, weights="made by the test")


def own(module, **options):
    given = {"model": module, "calibration": samples(), "sample_shape": (1, 3, 8, 8)} | PLAIN
    return own_model(source(module), Request(**(given | options)))


def tokens(count=16):
    draw = np.random.default_rng(0)
    arrays = {"tokens": draw.integers(0, 10, (count, 6)), "numbers": draw.standard_normal((count, 4))}
    return Samples(arrays=arrays, words=f"{count} made by the test")


def pack(model, out, exporter=ONNX, recipe=FP32, **options):
    return pack_bundle(model, exporter, recipe, out, reference=FloatReference.of(model), **options).path


@pytest.fixture(scope="module")
def unmeasured(tmp_path_factory):
    """A bundle of a model whose accuracy nobody measured."""
    return pack(own(Net(), labels=LABELS).model, tmp_path_factory.mktemp("unmeasured"), recipe=W8A8)


def test_with_validation_samples_it_is_verified(tmp_path):
    found = own(Net(), labels=LABELS, validation=samples(32, 1, truth=True))
    manifest = Bundle.open(pack(found.model, tmp_path)).manifest
    assert manifest.status in ("verified", "undecided")
    assert (manifest.metrics[0].value, manifest.metrics[0].samples) == (1.0, 32)
    assert manifest.preprocessing.in_graph == ("uint8 (N, H, W, C) to float32 (N, C, H, W)", "pixel / 255")
    assert manifest.provenance["source"] == "net"


def test_without_them_its_stages_are_verified_and_its_accuracy_is_not(unmeasured):
    manifest = Bundle.open(unmeasured).manifest
    assert (manifest.status, manifest.metrics) == ("consistent", ())
    assert [(stage.stage, stage.passed) for stage in manifest.stages] == [
        (name, True) for name in ("capture", "rewrite", "lower", "quantize", "reload")
    ]
    assert manifest.provenance["not_proven"].startswith("accuracy: not measured")


def test_every_tool_says_that_no_accuracy_was_measured(unmeasured, capsys):
    inspect(unmeasured, as_json=False)
    assert verify([unmeasured], as_json=False)
    said = capsys.readouterr()
    assert "accuracy not measured net-onnx-w8a8_static" in said.err
    assert "accuracy  not measured" in said.out
    assert "UNVERIFIED" not in said.out + said.err


def test_without_samples_all_is_stamped_unverified_and_static_int8_left_out(tmp_path):
    found = own(Net(), calibration=None)
    assert "every bundle is stamped unverified" in " ".join(found.says)
    assert not found.calibrated
    assert Bundle.open(pack(found.model, tmp_path)).manifest.status == "unverified"
    with pytest.raises(UsageError, match="w8a8_static cannot be made without samples.*--random-samples"):
        optimize(Request(model=Net(), sample_shape=(1, 3, 8, 8), **PLAIN, recipes=["w8a8_static"], exporters=["onnx"]))


def test_calibrated_on_noise_it_is_unverified_whatever_its_accuracy(tmp_path):
    found = own(Net(), calibration=None, validation=samples(16, 1, truth=True), labels=LABELS, random_samples=True)
    manifest = Bundle.open(pack(found.model, tmp_path, recipe=W8A8, max_drop=0.9)).manifest
    assert (found.calibrated, manifest.status) == (True, "unverified")
    assert "random noise" in manifest.provenance["calibration"]


@pytest.mark.parametrize("module", [TwoInTwoOut(), Named()], ids=["tuple", "dict"])
@pytest.mark.parametrize("exporter", ["onnx", "torchscript_traced"])
def test_several_inputs_and_outputs_by_name(module, exporter, tmp_path):
    if isinstance(module, Named) and exporter != "onnx":
        pytest.skip("one exporter shows the dict's names")
    found = own_model(source(module), Request(model=module, calibration=tokens()))
    names = ["scores", "features"] if isinstance(module, Named) else ["output_0", "output_1"]
    assert [(s.name, s.dtype) for s in found.model.inputs] == [("tokens", "int64"), ("numbers", "float32")]
    assert [s.name for s in found.model.outputs] == names
    folder = pack(found.model, tmp_path, EXPORTERS[exporter])
    one = {name: rows[:1] for name, rows in found.model.calibration.items()}
    with torch.no_grad(), load(Bundle.open(folder), allow=("torchscript",)) as engine:
        answer = engine.run(one)
        wanted = TwoInTwoOut()(*(torch.from_numpy(rows) for rows in one.values()))
    assert np.allclose(answer[names[0]], wanted[0], atol=1e-5)
    assert np.allclose(answer[names[1]], wanted[1], atol=1e-5)


def test_a_free_batch_with_several_inputs(tmp_path):
    found = own_model(source(TwoInTwoOut()), Request(model="m", calibration=tokens()))
    folder = pack(found.model.with_max_batch(4), tmp_path)
    three = {name: rows[:3] for name, rows in found.model.calibration.items()}
    with load(Bundle.open(folder)) as engine:
        assert [rows.shape for rows in engine.run(three).values()] == [(3, 3), (3, 12)]


def test_the_users_evaluate_is_asked_of_the_float_model_and_of_each_bundle(tmp_path):
    asked = []
    held_out, truth = pixels(20, seed=5)

    def share_right(predict):
        asked.append(predict)
        return float((predict({"image": held_out})["probabilities"].argmax(1) == truth).mean())

    found = own(Net(), labels=LABELS, evaluate=share_right)
    metric = Bundle.open(pack(found.model, tmp_path)).manifest.metrics[0]
    assert (metric.name, metric.value, metric.float_value, metric.samples) == ("share_right", 1.0, 1.0, 20)
    assert len(asked) == 2


@pytest.mark.parametrize(
    ("evaluate", "message"),
    [
        (lambda predict: 0.5, "never called the predict function"),
        (lambda predict: float("nan"), "gave nan. It should give one number"),
        (lambda predict: predict({"image": pixels(4)[0]})["logits"], r"failed. KeyError: 'logits' .*test_own_model.py"),
    ],
)
def test_an_evaluate_that_says_nothing_is_refused(evaluate, message):
    with pytest.raises(EdgekitError, match=message):
        FloatReference.of(own(Net(), labels=LABELS, evaluate=evaluate).model)


def test_a_softmax_is_put_behind_logits_and_not_behind_probabilities():
    logits, already = own(Net(), labels=LABELS), own(probabilities(), labels=LABELS)
    assert isinstance(logits.parts.head, nn.Softmax)
    assert isinstance(already.parts.head, nn.Identity)
    assert "no softmax was put behind it" in " ".join(already.says)


def test_the_users_own_module_is_left_as_it_is():
    module = Net().half().train()
    found = own(module, labels=LABELS)
    assert module.training
    assert module.fc.weight.dtype == torch.float16
    assert next(found.model.module.parameters()).dtype == torch.float32
    assert "weights in float16 were converted to float32" in found.says


def test_a_wrong_shape_names_the_layer_and_the_users_line():
    with pytest.raises(InputError, match=r"fails in fc \(Linear\).*Your line: .*own_net\.py, line \d+.*--sample-shape"):
        own(Net(), calibration=None, sample_shape=(1, 3, 16, 16))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"labels": LABELS[:3]}, "there are 3 labels and the model gives 4 numbers"),
        ({"calibration": Samples(arrays={"x": np.zeros((4, 9, 9, 3), np.uint8)}, words="s")}, r"is \[9, 9, 3\] each"),
        (
            {"task": "ranking"},
            "unknown task 'ranking'. Known: classification, detection, multi_label, none, regression, segmentation",
        ),
    ],
)
def test_options_that_do_not_fit_are_refused(options, message):
    with pytest.raises(EdgekitError, match=message):
        own(Net(), **options)


def test_answers_that_are_no_numbers_are_refused_before_anything_is_exported():
    with pytest.raises(InputError, match="float model itself answers nan in 'probabilities' to sample 0"):
        FloatReference.of(own(NotANumber(), labels=LABELS).model)


def test_what_cannot_be_exported_names_operator_line_and_remedy(tmp_path):
    model = own(Branching(), labels=LABELS).model
    with pytest.raises(
        ExportError, match=r"failed at capture.*own_net\.py, line \d+, in forward: if bool.*torch\.where"
    ):
        pack(model, tmp_path)
    assert list(tmp_path.iterdir()) == []
    with pytest.warns(torch.jit.TracerWarning, match="Python boolean") as warned:
        pack(model, tmp_path, EXPORTERS["torchscript_traced"])
    assert [warning.filename.endswith("own_net.py") for warning in warned] == [True]


def test_ctrl_c_keeps_what_is_finished_and_leaves_nothing_half_written(tmp_path):
    def interrupt(event):
        if isinstance(event, BundleBegun) and event.name == "net-onnx-w8_dynamic":
            signal.raise_signal(signal.SIGINT)

    options = Request(model="m", exporters=("onnx",), recipes=("fp32", "w8_dynamic"), out=tmp_path)
    model = own(Net(), labels=LABELS).model
    with pytest.raises(Interrupted, match=r"interrupted at net-onnx-w8_dynamic. Finished and kept, 1: .*net-onnx-fp32"):
        deliver(model, combinations(options), options, lambda rows: None, on_event=interrupt)
    assert [path.name for path in tmp_path.iterdir()] == ["net-onnx-fp32"]


def test_a_full_disk_is_said_and_leaves_nothing_half_written(tmp_path):
    model, before = own(Net(), labels=LABELS).model, resource.getrlimit(resource.RLIMIT_FSIZE)
    options = Request(model="m", exporters=("onnx",), recipes=("fp32",), out=tmp_path)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))  # no file may grow beyond this
        with pytest.raises(EdgekitError, match=r"net-onnx-fp32 could not be written: File too large.*No bundle"):
            deliver(model, combinations(options), options, lambda rows: None)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(tmp_path.iterdir()) == []
