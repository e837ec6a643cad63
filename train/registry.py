"""Every model that edgekit trains, one line each, which leads to the file with all that belongs to the model."""

from __future__ import annotations

from edgekit.edge_runtime.errors import unknown
from edgekit.train.book_model import BookModel
from edgekit.train.models import (
    austen_text,
    bike_demand,
    birds_cnn,
    birds_designs,
    birds_mlp,
    birds_resdeep,
    cifar10_fast,
    digits_cnn,
    digits_detector,
    digits_features,
    lidc_malignancy,
    luna_classifier,
    luna_malignancy,
    luna_unet,
    mnist_net,
    thermometer,
    wine_quality,
)

BOOK_MODELS: dict[str, BookModel] = {
    model.name: model
    for model in (
        digits_cnn.MODEL,
        digits_features.MODEL,
        digits_detector.MODEL,
        mnist_net.MODEL,
        wine_quality.MODEL,
        bike_demand.MODEL,
        austen_text.MODEL,
        thermometer.LINE,
        thermometer.MLP,
        thermometer.MLP_13,
        thermometer.MLP_20,
        birds_mlp.MODEL,
        birds_mlp.DEEP,
        birds_cnn.MODEL,
        birds_designs.WIDTH,
        birds_designs.L2,
        birds_designs.DROPOUT,
        birds_designs.BATCHNORM,
        birds_designs.DEPTH,
        birds_designs.RES,
        birds_resdeep.MODEL,
        birds_resdeep.INDEPENDENT,
        luna_unet.MODEL,
        luna_classifier.MODEL,
        luna_malignancy.MODEL,
        luna_malignancy.HEAD,
        cifar10_fast.MODEL,
        lidc_malignancy.MODEL,
    )
}


def book_model(name: str) -> BookModel:
    """The registered model; raises `UsageError` listing the known ones."""
    if name not in BOOK_MODELS:
        raise unknown("model", name, BOOK_MODELS)
    return BOOK_MODELS[name]
