"""`python -m experiments.training.benchmark` on few digits: every epoch kept, ratios with intervals, the same work on
both sides."""

import json

import pytest
import torch

from edgekit.edge_runtime.errors import UsageError
from edgekit.train.models import birds_cnn
from edgekit.train.registry import book_model
from experiments.training.benchmark import NetAsPrinted, benchmark, main
from experiments.training.layouts import ratio

DIGITS = book_model("digits_cnn")


@pytest.fixture(scope="module")
def measured():
    return benchmark(DIGITS, device="cpu", rounds=4, samples=128, one_thread=True)


def test_every_epoch_of_every_candidate_is_kept(measured):
    names = [entry["name"] for entry in measured["candidates"]]
    assert names == ["plain_1_thread", "ours_nchw_1_thread", "ours_1_thread"]
    for entry in measured["candidates"]:
        assert len(entry["wall_s"]) == len(entry["cpu_s"]) == len(entry["loss"]) == 4
        assert entry["speedup"]["low"] <= entry["speedup"]["ratio"] <= entry["speedup"]["high"]
        assert (entry["compared_with"], entry["num_threads"]) == ("plain_1_thread", 1)


def test_all_candidates_learn_alike(measured):
    last = [entry["loss"][-1] for entry in measured["candidates"]]
    assert max(last) - min(last) < 0.5
    assert all(entry["loss"][-1] < entry["loss"][0] for entry in measured["candidates"])


def test_the_net_as_printed_gives_our_answers():
    torch.manual_seed(0)
    ours, printed = birds_cnn.Net(), NetAsPrinted()
    printed.load_state_dict(ours.state_dict())
    pictures = torch.randn(32, 3, 32, 32)
    torch.testing.assert_close(printed(pictures), ours(pictures), rtol=0, atol=1e-6)


def test_a_speedup_is_a_ratio_of_medians():
    assert ratio([2.0, 4.0, 3.0], [1.0, 1.0, 1.0])["ratio"] == pytest.approx(3)


def test_inference_is_measured_in_both_layouts(measured):
    found = measured["inference"]
    assert {name: len(times) for name, times in found["wall_s"].items()} == {"nchw": 4, "channels_last": 4}
    median = sorted(found["wall_s"]["nchw"])[1:3]
    assert found["pictures_per_s"]["nchw"] == pytest.approx(128 / (sum(median) / 2))
    assert measured["transfers"] is None  # there is nowhere to copy to


def test_what_cannot_be_measured_is_said():
    with pytest.raises(UsageError, match="--rounds 2: an interval needs at least 3"):
        benchmark(DIGITS, device="cpu", rounds=2)
    with pytest.raises(
        UsageError, match="bike_demand is a regression model, but the plain loop trains classifiers only"
    ):
        benchmark(book_model("bike_demand"), device="cpu", rounds=3)


def test_the_command_writes_json_and_a_line_a_candidate(tmp_path, capsys, monkeypatch):
    out = tmp_path / "b.json"
    words = ["--model", "digits_cnn", "--rounds", "3", "--samples", "64", "--out", str(out)]
    monkeypatch.setattr("sys.argv", ["experiments.training.benchmark", *words])
    assert main() == 0
    assert json.loads(out.read_text())["rounds"] == 3
    assert capsys.readouterr().out.count("epochs/s") == 5
