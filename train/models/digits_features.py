"""Chapter 1's hand-made features of a digit, under a linear classifier: what a learned representation replaces."""

from __future__ import annotations

from torch import Tensor, nn

from edgekit.edge_runtime.bundle.manifest import TensorSpec
from edgekit.train.book_model import BookModel, FitConfig, Normalization, Target
from edgekit.train.data import digit_features


class DigitsFeatures(nn.Module):
    """(N, 36) float32, normalized features, to logits (N, 10): 370 parameters.

    One linear layer, like the last layer of `digits_cnn` on the 64 features that it has learned.
    """

    def __init__(self) -> None:
        super().__init__()
        self.classify = nn.Linear(len(digit_features.FEATURES), 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.classify(x)


# Of the training split, in the order of digit_features.FEATURES: eight directions in each of four quarters, the rest.
_MEAN = (
    *(0.0869, 0.0879, 0.0171, 0.0068, 0.0095, 0.0103, 0.0104, 0.0291),
    *(0.0067, 0.0083, 0.0198, 0.0700, 0.1009, 0.0235, 0.0068, 0.0087),
    *(0.0841, 0.0276, 0.0095, 0.0073, 0.0052, 0.0043, 0.0196, 0.0783),
    *(0.0105, 0.0125, 0.0092, 0.0290, 0.0941, 0.0776, 0.0187, 0.0099),
    *(0.3884, 0.0144, 0.5056, 0.3050),
)
_STD = (
    *(0.0462, 0.0428, 0.0146, 0.0123, 0.0156, 0.0166, 0.0175, 0.0333),
    *(0.0120, 0.0156, 0.0199, 0.0315, 0.0468, 0.0310, 0.0145, 0.0128),
    *(0.0442, 0.0332, 0.0161, 0.0131, 0.0116, 0.0105, 0.0206, 0.0396),
    *(0.0166, 0.0161, 0.0156, 0.0397, 0.0432, 0.0461, 0.0183, 0.0157),
    *(0.5742, 0.0323, 0.1099, 0.0331),
)

MODEL = BookModel(
    name="digits_features",
    chapter=1,
    summary="handwritten digits by hand-made features (edge directions, holes), a linear classifier",
    task="classification",
    build=DigitsFeatures,
    data=digit_features.digit_features,
    normalization=Normalization(mean=_MEAN, std=_STD),
    preprocessing=None,
    takes=TensorSpec(name="input", dtype="float32", shape=(1, len(digit_features.FEATURES))),
    labels=digit_features.LABELS,
    fit=FitConfig(epochs=30, batch_size=64, learning_rate=1e-2, optimizer="adam", cpu_threads=1),
    target=Target(
        metric="accuracy",
        value=0.93,
        source="edgekit's own aim; chapter 1 describes such features and reports no figure",
    ),
)
