"""The registered models: sizes, shapes on real samples, and the book's own weights."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from edgekit.edge_runtime.errors import UsageError
from edgekit.edge_runtime.tasks.registry import TASKS
from edgekit.optimize.deploy import input_spec
from edgekit.train.book_model import input_module
from edgekit.train.checkpoint import load_weights
from edgekit.train.loop.epoch import LOSSES, OPTIMIZERS, evaluate, on_device
from edgekit.train.registry import BOOK_MODELS, book_model


@pytest.mark.parametrize(("name", "parameters"), [("digits_cnn", 23_114), ("birds_cnn", 18_090)])
def test_parameter_counts(name, parameters):
    assert sum(p.numel() for p in book_model(name).build().parameters()) == parameters


def test_birds_cnn_has_the_books_layers():
    sizes = [p.numel() for p in book_model("birds_cnn").build().parameters()]
    assert sizes == [432, 16, 1152, 8, 16384, 32, 64, 2]


@pytest.mark.parametrize("model", BOOK_MODELS.values(), ids=BOOK_MODELS)
def test_an_entry_fits_together(model):
    assert BOOK_MODELS[model.name] is model
    assert model.task in TASKS.keys() & LOSSES.keys()
    assert model.fit.optimizer in OPTIMIZERS
    assert (model.preprocessing is None) == (model.takes is not None)
    taken = input_spec(model)
    raw = torch.zeros(2, *taken.shape[1:], dtype=getattr(torch, taken.dtype))
    given = model.build().eval()(input_module(model)(raw))
    assert (model.suppression is None) == (model.task != "detection")
    if model.suppression:
        scores, boxes = given
        assert (scores.shape[::2], boxes.shape) == ((2, len(model.labels)), (2, scores.shape[1], 4))
        return
    shape = (2, 1, *taken.shape[2:]) if model.task == "segmentation" else (2, len(model.labels))
    assert given.shape == shape


def test_the_digits_constants_are_those_of_the_training_split():
    model = book_model("digits_cnn")
    inputs, _ = on_device(model, model.data().train, "cpu")
    assert float(inputs.mean()) == pytest.approx(0, abs=1e-3)
    assert float(inputs.std()) == pytest.approx(1, abs=1e-3)


def test_an_unknown_model_lists_the_known_ones():
    with pytest.raises(UsageError, match=r"unknown model 'nope'. Known: .*birds_cnn,.* digits_cnn,"):
        book_model("nope")


def test_a_model_without_pictures_has_nothing_before_it():
    model = replace(book_model("digits_cnn"), normalization=None, preprocessing=None)
    assert type(input_module(model)) is nn.Identity


def test_the_books_published_weights_have_the_books_accuracy(data_root):
    published = data_root / "book" / "p1ch6" / "birds_vs_airplanes.pt"
    if not published.is_file() or not (data_root / "cifar-10-batches-py").is_dir():
        pytest.skip(f"the book's weights or CIFAR-10 are not in {data_root}")
    model = book_model("birds_cnn")
    module = model.build()
    load_weights(module, published)
    found = evaluate(module, *on_device(model, model.data().validation, "cpu"), model.task)
    assert (found.value, found.samples) == (0.8915, 2000)
