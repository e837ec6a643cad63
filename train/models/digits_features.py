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
    *(0.0871, 0.0878, 0.0171, 0.0066, 0.0095, 0.0104, 0.0101, 0.0295),
    *(0.0064, 0.0084, 0.0194, 0.0703, 0.1007, 0.0232, 0.0069, 0.0086),
    *(0.0848, 0.0277, 0.0096, 0.0075, 0.0054, 0.0044, 0.0198, 0.0777),
    *(0.0103, 0.0124, 0.0099, 0.0287, 0.0939, 0.0776, 0.0185, 0.0098),
    *(0.3927, 0.0145, 0.5032, 0.3042),
)
_STD = (
    *(0.0470, 0.0434, 0.0146, 0.0124, 0.0158, 0.0167, 0.0171, 0.0339),
    *(0.0118, 0.0157, 0.0197, 0.0319, 0.0470, 0.0312, 0.0147, 0.0129),
    *(0.0442, 0.0333, 0.0163, 0.0130, 0.0117, 0.0107, 0.0206, 0.0399),
    *(0.0162, 0.0161, 0.0164, 0.0390, 0.0439, 0.0462, 0.0181, 0.0159),
    *(0.5784, 0.0324, 0.1114, 0.0331),
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
