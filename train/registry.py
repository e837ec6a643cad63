"""Every model that edgekit trains, one line each. The line leads to the file that holds all of the model."""

from __future__ import annotations

from edge_runtime.errors import unknown
from train.book_model import BookModel
from train.models import birds_cnn, digits_cnn

BOOK_MODELS: dict[str, BookModel] = {
    model.name: model
    for model in (
        digits_cnn.MODEL,
        birds_cnn.MODEL,
    )
}


def book_model(name: str) -> BookModel:
    """The registered model; raises `UsageError` listing the known ones."""
    if name not in BOOK_MODELS:
        raise unknown("model", name, BOOK_MODELS)
    return BOOK_MODELS[name]
