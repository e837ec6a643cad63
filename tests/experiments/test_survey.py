"""The survey: rows are kept and gone on from, a crash costs one row, reasons of slowness name operators."""

import json
import os
import signal
import subprocess
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from edgekit.edge_runtime.bundle.manifest import TensorSpec
from edgekit.edge_runtime.errors import UsageError
from edgekit.edge_runtime.profiling.operators import Operator
from edgekit.edge_runtime.profiling.profile import Profile
from edgekit.optimize.deploy import DeployModel
from edgekit.optimize.verify import FloatReference
from experiments.survey.measure import kept_latency, measure_all, plain_kind, why_slower
from experiments.survey.models import BACKBONES, Surveyed, prepare, settle
from experiments.survey.rows import Combination, failed_row, keep_row, kept_row, make_row, warm
from experiments.survey.run import _alone, _to_do, collected, combinations, main, rescues, survey, take_over
from experiments.survey.tables import survey_backbones_table, survey_int8_table, survey_models_table

ONE = Combination(model="tiny", exporter="onnx", recipe="w8a8_static")


@pytest.fixture(scope="module")
def tiny():
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 5)).eval().requires_grad_(False)
    rows = np.random.default_rng(0).standard_normal((64, 3, 8, 8)).astype(np.float32)
    model = DeployModel(
        name="tiny",
        task="none",
        module=module,
        inputs=(TensorSpec(name="x", dtype="float32", shape=(1, 3, 8, 8)),),
        outputs=(TensorSpec(name="y", dtype="float32", shape=(1, 5)),),
        preprocessing=None,
        labels=(),
        calibration={"x": rows[:32]},
        validation={"x": rows[32:]},
        targets=None,
        weights_sha256="0" * 64,
        origin="noise",
    )
    return Surveyed(model=model, weights="random", mflop=12.0, convolutional=True), FloatReference.of(model)


def test_a_row_holds_what_was_found(tiny, tmp_path):
    row = make_row(ONE, *tiny, tmp_path, timeout_s=300)
    assert row["outcome"] == "verified", row
    assert row["sqnr_db"] > 20
    assert row["agreement"] > 0.8
    size = (tmp_path / "bundles" / "tiny" / row["bundle"] / "model.onnx").stat().st_size
    assert row["bytes"] == size


class Misbehaves(nn.Module):
    """Does something before it answers: what an exporter's own process may die of."""

    def __init__(self, deed, net):
        super().__init__()
        self.deed, self.net = deed, net

    def forward(self, x):
        self.deed()
        return self.net(x)


def misbehaving(surveyed, deed):
    model = surveyed.model
    return replace(surveyed, model=replace(model, module=Misbehaves(deed, model.module).eval()))


TRACED = Combination(model="tiny", exporter="torchscript_traced", recipe="fp32")


@pytest.mark.parametrize(
    ("deed", "seconds", "outcome", "says"),
    [
        (lambda: os.kill(os.getpid(), signal.SIGKILL), 300, "crashed", "SIGKILL"),
        (lambda: signal.pause(), 2, "timeout", "2 s"),
        (lambda: 1 / 0, 300, "failed", "ZeroDivisionError"),
    ],
)
def test_a_crash_costs_one_row(tiny, tmp_path, deed, seconds, outcome, says):
    surveyed, reference = tiny
    row = make_row(TRACED, misbehaving(surveyed, deed), reference, tmp_path, timeout_s=seconds)
    assert row["outcome"] == outcome
    assert says in row["reason"]


def test_a_timeout_ends_what_the_row_has_started_though_the_survey_ignores_interrupts(tiny, tmp_path):
    def start_and_wait():
        worker = subprocess.Popen(["sleep", "60"], start_new_session=True)
        (tmp_path / "pid").write_text(str(worker.pid))
        try:
            worker.wait()
        finally:
            worker.kill()
            worker.wait()

    surveyed, reference = tiny
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        row = make_row(TRACED, misbehaving(surveyed, start_and_wait), reference, tmp_path, timeout_s=5)
        assert row["outcome"] == "timeout"
    finally:
        signal.signal(signal.SIGINT, before)
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


def test_finished_rows_are_not_made_again_and_failed_ones_when_asked(tmp_path, capsys):
    wanted = combinations(["birds_cnn"], ["onnx"], ["fp32", "w8a8_static"])
    good = failed_row(wanted[0], "verified", "")
    bad = failed_row(wanted[1], "failed", "no disk")
    keep_row(wanted[0], tmp_path, good)
    keep_row(wanted[1], tmp_path, bad)
    survey(wanted, tmp_path, timeout_s=1, retry=False)
    assert "0 to do" in capsys.readouterr().err
    assert [kept_row(one, tmp_path) for one in wanted] == [good, bad]


def test_two_surveys_do_not_share_a_place(tmp_path, capsys):
    arguments = ["--models", "birds_cnn", "--exporters", "onnx", "--place", str(tmp_path), "--out", str(tmp_path / "o")]
    with _alone(tmp_path):
        assert main(arguments) == 2
    assert "another survey works in" in capsys.readouterr().err
    assert not (tmp_path / "o").exists()


def test_rows_of_another_machine_are_taken_over_and_their_bundles_made_again_when_asked(tmp_path, capsys):
    here, there = combinations(["birds_cnn"], ["onnx"], ["fp32", "w8a8_static"])
    mine = {**vars(here), "outcome": "verified", "reason": "", "bundle": "birds_cnn-onnx-fp32", "bytes": 1}
    keep_row(here, tmp_path, mine)
    others = [{**mine, "bytes": 2}, {**mine, "recipe": "w8a8_static", "bundle": "birds_cnn-onnx-w8a8_static"}]
    found = {"rows": others, "latency": {"birds_cnn": {"error": "too busy"}}}
    assert take_over(found, tmp_path) == 1
    assert [kept_row(one, tmp_path) for one in (here, there)] == [mine, others[1]]
    assert kept_latency(tmp_path) == {"birds_cnn": {"error": "too busy"}}
    assert take_over(found, tmp_path) == 0
    (tmp_path / "bundles" / "birds_cnn" / "birds_cnn-onnx-fp32").mkdir(parents=True)
    assert [_to_do(one, tmp_path, retry=False, remake=True) for one in (here, there)] == [False, True]
    big = {"convolutional": True, "mflop": 50.0}
    keep_row(there, tmp_path, {**others[1], **big})
    measure_all([there], tmp_path, mode="conv", retry=False, say=lambda line: print(line))
    assert "1 bundles are not in" in capsys.readouterr().out


def test_what_int8_missed_is_tried_in_other_ways_one_after_the_other(tmp_path):
    float32, int8 = combinations(["birds_cnn"], ["executorch_xnnpack"], ["fp32", "w8a8_static"])
    (portable,) = combinations(["birds_cnn"], ["executorch_portable"], ["w8a8_static"])
    for one in (float32, int8, portable):
        keep_row(one, tmp_path, {**vars(one), "outcome": "inaccurate"})
    wanted = [float32, int8, portable]
    (tuned,) = rescues(wanted, tmp_path, "w8a8_tuned")
    assert tuned == replace(int8, recipe="w8a8_tuned")
    assert rescues(wanted, tmp_path, "mixed") == []
    keep_row(tuned, tmp_path, {**vars(tuned), "outcome": "inaccurate"})
    assert rescues(wanted, tmp_path, "mixed") == [replace(int8, recipe="mixed")]
    keep_row(tuned, tmp_path, {**vars(tuned), "outcome": "verified"})
    assert rescues(wanted, tmp_path, "mixed") == []


def test_a_rescue_of_other_weights_or_of_what_is_well_is_left_out_of_the_results(tmp_path):
    def keep(model, exporter, recipe, outcome, weights):
        one = Combination(model=model, exporter=exporter, recipe=recipe)
        keep_row(one, tmp_path, {**vars(one), "outcome": outcome, "weights": weights})

    for model, exporter, outcome, weights in (
        ("birds_cnn", "onnx", "inaccurate", "trained"),
        ("birds_cnn", "executorch_xnnpack", "inaccurate", "random"),
        ("mnist_net", "onnx", "verified", "trained"),
    ):
        keep(model, exporter, "w8a8_static", outcome, "trained")
        keep(model, exporter, "w8a8_tuned", "verified", weights)
    rows = collected(tmp_path)["rows"]
    assert [(row["model"], row["exporter"]) for row in rows if row["recipe"] == "w8a8_tuned"] == [("birds_cnn", "onnx")]
    assert len(rows) == 4


def test_libraries_are_set_up_once_and_a_failure_of_it_is_of_no_account(tiny):
    tries = []

    def refuse():
        tries.append(1)
        raise RuntimeError("no")

    warm(misbehaving(tiny[0], refuse).model, {"onnx", "aot"})
    assert len(tries) >= 2  # onnx, in float and in 8 bits
    before = len(tries)
    warm(misbehaving(tiny[0], refuse).model, {"aot"})
    assert len(tries) == before


def test_a_file_that_no_engine_here_runs_is_not_called_inaccurate(tiny, tmp_path):
    row = make_row(replace(ONE, exporter="executorch_vulkan", recipe="fp32"), *tiny, tmp_path, timeout_s=300)
    assert row["outcome"] == "not_run", row
    path = tmp_path / "survey.json"
    path.write_text(json.dumps({"rows": [row], "latency": {}, "planned": {"models": 1, "backbones": 0}}))
    said = survey_models_table(path)
    assert "`executorch_vulkan` fp32: 1 of 1 lowered; no engine here runs the file" in said
    assert "missed" not in said


def test_half_a_row_is_none(tmp_path):
    keep_row(ONE, tmp_path, {"outcome": "verified"})
    ONE.file(tmp_path).write_text('{"outcome": "ver')
    assert kept_row(ONE, tmp_path) is None


def test_what_is_gone_through():
    assert len(BACKBONES) >= 24
    assert {one.recipe for one in combinations(["torchvision:resnet18"])} == {"fp32", "w8a8_static"}
    assert all(one.offered for one in combinations(["birds_cnn"]))
    with pytest.raises(UsageError, match="unknown model 'birds'"):
        combinations(["birds"])
    with pytest.raises(UsageError, match="unknown exporter"):
        combinations([], ["onyx"])


def test_an_unknown_model_is_named(tmp_path):
    with pytest.raises(UsageError, match="no model 'nothing'"):
        prepare("nothing", tmp_path)


def test_settled_weights_have_no_favourite_class():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(288, 10))
    pictures = torch.rand(32, 3, 8, 8) * 50 + 100
    settle(net, pictures)
    with torch.inference_mode():
        assert net(pictures).mean(0).abs().max() < 1e-3
        normed = net[1](net[0](pictures))
    assert abs(float(normed.mean())) < 0.05
    assert float(normed.std()) == pytest.approx(1, abs=0.05)


def test_a_head_that_begins_at_zero_is_drawn():
    net = nn.Sequential(nn.Flatten(), nn.Linear(12, 5))
    nn.init.zeros_(net[1].weight)
    settle(net, torch.rand(16, 3, 2, 2))
    with torch.inference_mode():
        assert net(torch.rand(8, 3, 2, 2)).std(0).min() > 0


def _profile(*operators):
    found = tuple(Operator(name=kind, kind=kind, ns=(ns,) * 10) for kind, ns in operators)
    return Profile(name="p", status="verified", engine="e", num_threads=1, model_bytes=1, plain_ns=(1,),
                   profiled_ns=(1,), operators=found, remarks=())  # fmt: skip


def test_the_reason_names_what_costs_most():
    before = _profile(("FusedConv", 4_000_000), ("Mul", 100_000))
    after = _profile(("QLinearConv", 2_000_000), ("QuantizeLinear", 3_000_000), ("Mul", 500_000))
    said = why_slower(before, after)
    assert said.index("QuantizeLinear 3.000 ms (not there in float)") < said.index("Mul 0.500 ms (0.100 ms in float)")
    assert "Conv" not in said
    assert plain_kind("QLinearConv") == plain_kind("FusedConv") == "Conv"
    assert plain_kind("QuantizeLinear") == "QuantizeLinear"


def test_tables_say_what_was_found(tmp_path):
    rows = []
    for model in ("birds_cnn", "timm:levit_128s"):
        for recipe in ("fp32", "w8a8_static"):
            one = Combination(model=model, exporter="onnx", recipe=recipe)
            row = {**vars(one), "outcome": "verified", "reason": "", "missed": [], "bytes": 2_000_000, "sqnr_db": 41.0,
                   "agreement": 0.5, "metric": None, "outside_delegate": "", "weights": "drawn", "mflop": 20.0,
                   "convolutional": True}  # fmt: skip
            rows.append(row)
    broken = replace(one, exporter="executorch_xnnpack")
    rows.append(failed_row(broken, "crashed", "its process ended with signal SIGSEGV"))
    side = {"p50_ms": 1.5, "runs": 45, "disturbed": []}
    int8 = {"onnx": {"ratio": 0.5, "low": 0.4, "high": 0.6, "why": "Where int8 takes longer than float: Mul."}}
    latency = {"birds_cnn": {"bundles": {"onnx-fp32": side, "onnx-w8a8_static": side}, "int8": int8}}
    missed = rows[1] | {"outcome": "inaccurate", "missed": ["quantize", "reload"]}
    tuned = rows[1] | {"recipe": "w8a8_tuned", "agreement": 0.75}
    rows = [rows[0], missed, tuned, *rows[2:]]
    path = tmp_path / "survey.json"
    planned = {"models": 2, "backbones": 4}
    path.write_text(json.dumps({"rows": rows, "latency": latency, "planned": planned}))
    assert "Not finished" not in survey_models_table(path)
    assert "Not finished: 3 of 4 combinations" in survey_backbones_table(path)
    assert "agrees 50 %, 2 MB, 41 dB, 1.5 ms" in survey_models_table(path)
    assert "**missed at quantize, reload**; `w8a8_tuned`: agrees 75 %, 2 MB, 41 dB |" in survey_models_table(path)
    backbones = survey_backbones_table(path)
    assert "crashed [1]" in backbones
    assert "1. timm:levit_128s: its process ended with signal SIGSEGV" in backbones
    assert "`executorch_xnnpack` w8a8_static: 0 of 1 made" in backbones
    said = survey_int8_table(path)
    assert "0 of 1 rows" in said
    assert "birds_cnn, onnx, 2.00× slower [1.67, 2.50]: Where int8 takes longer than float: Mul." in said
    path.write_text(json.dumps({"rows": rows, "latency": {}}))
    assert "No times yet" in survey_int8_table(path)
