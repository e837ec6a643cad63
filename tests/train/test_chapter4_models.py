"""Chapter 4's models: what each takes and gives, and that a short training already beats what it has to beat."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from chapter4_baselines import GoodWines, always_good, pair_counts, same_hour, sulfur_threshold
from torch import nn

from edgekit.edge_runtime.preprocess.text import character_codes
from edgekit.train.checkpoint import load_weights
from edgekit.train.data import austen
from edgekit.train.loop.epoch import on_device
from edgekit.train.loop.fit import fit
from edgekit.train.models.austen_text import AustenText
from edgekit.train.models.bike_demand import BikeDemand
from edgekit.train.registry import book_model


def trained(model, folder, epochs):
    """A few epochs by the one loop; the finished module and the record of the run."""
    done = fit(model, folder, config=replace(model.fit, epochs=epochs), device="cpu")
    module = model.build().eval()
    load_weights(module, done.weights)
    return module, done.record


@pytest.fixture(scope="module", autouse=True)
def files(data_root):
    if not (data_root / "book" / "p1ch4").is_dir():
        pytest.skip(f"the book's chapter-4 files are not in {data_root}")


def test_wines_are_told_better_than_by_the_threshold(tmp_path):
    model = book_model("wine_quality")
    module, record = trained(model, tmp_path, epochs=20)
    data = model.data()
    inputs, targets = on_device(model, data.validation, "cpu")
    found = GoodWines.of(module(inputs).argmax(dim=1).numpy(), targets.numpy())
    book = sulfur_threshold(data.validation)
    assert found.accuracy == pytest.approx(record.value)
    assert found.precision > 0.78 > book.precision
    assert found.recall > 0.80 > book.recall
    assert record.low > always_good(data.validation).high
    assert always_good(data.validation).value > book.accuracy  # the threshold is right less often than a blind "good"


def test_the_wines_constants_are_those_of_the_training_split():
    model = book_model("wine_quality")
    inputs, _ = on_device(model, model.data().train, "cpu")
    assert inputs.mean(dim=0).abs().max() < 5e-3
    assert inputs.std(dim=0).numpy() == pytest.approx(np.ones(11), abs=5e-3)


def test_bikes_are_told_better_than_by_yesterday_and_by_last_week(tmp_path):
    model = book_model("bike_demand")
    _, record = trained(model, tmp_path, epochs=25)
    validation = model.data().validation
    assert record.metric == "mean_absolute_error"
    assert record.value < 62 < same_hour(validation, days_before=7).value < same_hour(validation).value
    assert record.high < same_hour(validation).low  # 95 % intervals that do not touch


def test_the_bikes_model_reads_the_columns_it_says():
    torch.manual_seed(1)
    net, days = BikeDemand().eval(), torch.rand(1, 7, 24, 17)
    days[..., 7], days[..., 9] = 3, 1
    moved = {}
    for column in range(17):
        other = days.clone()
        other[..., column] += 1
        moved[column] = not torch.equal(net(other), net(days))
    assert [column for column, changes in moved.items() if changes] == [6, 7, 8, 9, 10, 11, 12, 13, 16]


def test_the_text_is_told_better_than_by_pairs_of_characters(tmp_path):
    model = book_model("austen_text")
    whole = model.data()
    part = replace(whole.train, inputs=whole.train.inputs[:150_000], targets=whole.train.targets[:150_000])
    short = replace(model, data=lambda: replace(whole, train=part), fit=replace(model.fit, batch_size=256))
    _, record = trained(short, tmp_path, epochs=1)
    pairs = pair_counts(whole)  # these have seen all of the training text
    assert (record.metric, record.validation_samples) == ("bits_per_character", 8560)
    assert record.high < 3.1 < pairs.low


def test_an_embedding_is_a_linear_layer_of_one_hot_vectors():
    torch.manual_seed(1)
    net, codes = AustenText(), torch.from_numpy(character_codes("Impossible, Mr. ")[np.newaxis])
    linear = nn.Linear(austen.ALPHABET, 16, bias=False)
    linear.weight = nn.Parameter(net.embedding.weight.T)
    coded = nn.functional.one_hot(codes, austen.ALPHABET).float()  # (1, 16, 128)
    assert torch.allclose(linear(coded), net.embedding(codes), atol=1e-6)
    # and then the whole net is the same one, with 128 numbers a character to feed instead of one
    rest = nn.Sequential(nn.Flatten(), net.fc1, nn.ReLU(), net.fc2, nn.LogSoftmax(dim=-1))
    assert torch.allclose(rest(linear(coded)), net(codes), atol=1e-5)
    assert net(codes).exp().sum().item() == pytest.approx(1)


@pytest.mark.parametrize(
    ("name", "parameters"), [("wine_quality", 1_506), ("bike_demand", 28_848), ("austen_text", 100_736)]
)
def test_they_are_small_enough_for_any_device(name, parameters):
    assert sum(p.numel() for p in book_model(name).build().parameters()) == parameters
