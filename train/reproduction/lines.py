"""Chapter 5 line by line: each loss and parameter that the book prints of its thermometer, beside ours.

Nothing is random in these runs, so they are simply computed again each time; they take a few seconds.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import torch

from edgekit.train.models import thermometer_steps as thermometer
from edgekit.train.models.thermometer_steps import Descent


@dataclass(frozen=True, kw_only=True)
class Line:
    """One figure that the book prints."""

    run: str
    """The run it belongs to."""
    what: str
    """What it is."""
    book: str
    """As the book prints it."""
    ours: str
    """Ours, with as many digits."""

    @property
    def agreed(self) -> tuple[int, int]:
        """How many of the book's digits, from the left, are ours too; and how many digits the book has."""
        (book, *book_place), (ours, *our_place) = _digits(self.book), _digits(self.ours)
        same = next((i for i, (a, b) in enumerate(zip(book, ours, strict=False)) if a != b), min(len(book), len(ours)))
        return (same if book_place == our_place else 0), len(book)


def _digits(text: str) -> tuple[str, int, str]:
    """The significant digits, and their place: the length before the point, the sign and the exponent."""
    mantissa, _, exponent = text.partition("e")
    digits = re.sub(r"^0+(?=.)", "", mantissa.lstrip("-").replace(".", ""))
    return digits, len(mantissa.lstrip("-").partition(".")[0]), ("-" if text.startswith("-") else "+") + exponent


_SGD = partial(torch.optim.SGD, lr=1e-2)
# By run: how it is made, the training losses by epoch, the validation losses, and what it ends with, as printed.
_EVERY_500 = dict(
    zip(
        range(500, 5001, 500),
        ["7.8601", "3.8285", "3.0922", "2.9577", "2.9331", "2.9286", "2.9278", "2.9277", "2.9277", "2.9276"],
        strict=True,
    )
)


def _losses(epochs: str, values: str) -> dict[int, str]:
    return dict(zip(map(int, epochs.split()), values.split(), strict=True))


_RUNS: dict[str, tuple[partial[Descent], Mapping[int, str], Mapping[int, str], Mapping[str, str]]] = {
    "one step by hand": (
        partial(thermometer.by_hand, 1e-2, 1, normalized=False),
        {1: "1763.8846"},
        {},
        {"gradient, w": "4517.2969", "gradient, b": "82.6000"},
    ),
    "by hand, rate 1e-2, not normalized: diverges": (
        partial(thermometer.by_hand, 1e-2, 100, normalized=False),
        _losses("1 2 3 10 11", "1763.8846 5802485.5 1.9408e+10 9.09e+34 inf"),
        {},
        {},
    ),
    "by hand, rate 1e-4, not normalized": (
        partial(thermometer.by_hand, 1e-4, 100, normalized=False),
        _losses("1 2 3 10 11 99 100", "1763.8846 323.0905 78.9296 29.1052 29.1042 29.0236 29.0227"),
        {},
        {"w": "0.2327", "b": "-0.0438", "gradient, w": "-0.0532", "gradient, b": "3.0226"},
    ),
    "by hand, rate 1e-2, normalized": (
        partial(thermometer.by_hand, 1e-2, 100, normalized=True),
        _losses("1 2 3 10 11 99 100", "80.3643 37.5749 30.8711 29.0305 28.9419 22.2142 22.1487"),
        {},
        {"w": "2.7553", "b": "-2.5162"},
    ),
    "by hand, rate 1e-2, normalized, 5000 epochs": (
        partial(thermometer.by_hand, 1e-2, 5000, normalized=True),
        {4000: "2.927680", 5000: "2.927648"},
        {},
        {"w": "5.3671", "b": "-17.3012"},
    ),
    "autograd, rate 1e-2, normalized": (
        partial(thermometer.by_autograd, 1e-2, 5000, normalized=True),
        _EVERY_500,
        {},
        {"w": "5.3671", "b": "-17.3012"},
    ),
    "SGD, rate 1e-5, not normalized, one step": (
        partial(thermometer.by_optimizer, partial(torch.optim.SGD, lr=1e-5), 1, normalized=False),
        {},
        {},
        {"w": "0.95483", "b": "-8.26e-04"},
    ),
    "SGD, rate 1e-2, normalized": (
        partial(thermometer.by_optimizer, _SGD, 5000, normalized=True),
        _EVERY_500,
        {},
        {"w": "5.3671", "b": "-17.3012"},
    ),
    "Adam, rate 1e-1, not normalized": (
        partial(thermometer.by_optimizer, partial(torch.optim.Adam, lr=1e-1), 2000, normalized=False),
        _losses("500 1000 1500 2000", "7.6129 3.0867 2.9286 2.9276"),
        {},
        {"w": "0.5367", "b": "-17.3021"},
    ),
    "SGD, rate 1e-2, normalized, readings 2 and 10 held out": (
        partial(thermometer.by_optimizer, _SGD, 3000, normalized=True, validation=thermometer.VALIDATION),
        _losses(
            "1 2 3 500 1000 1500 2000 2500 3000",
            "66.5811 38.8626 33.3475 7.1454 3.5940 3.0942 3.0238 3.0139 3.0125",
        ),
        _losses(
            "1 2 3 500 1000 1500 2000 2500 3000",
            "142.3890 64.0434 39.4590 9.1252 5.3110 4.1611 3.7693 3.6279 3.5756",
        ),
        {"w": "5.1964", "b": "-16.7512"},
    ),
}


def chapter_5() -> list[Line]:
    """Every figure, in the book's order, computed now."""
    lines = []
    for run, (descend, training, validation, ends) in _RUNS.items():
        descent = descend()
        values = {"w": descent.weight, "b": descent.bias}
        values |= dict(zip(("gradient, w", "gradient, b"), descent.gradient, strict=True))
        for kind, printed, losses in (("", training, descent.losses), ("validation ", validation, descent.validation)):
            lines += [_line(run, f"{kind}loss, epoch {e}", text, losses[e - 1]) for e, text in printed.items()]
        lines += [_line(run, what, text, values[what]) for what, text in ends.items()]
    return lines


def _line(run: str, what: str, book: str, ours: float) -> Line:
    decimals = len(book.partition("e")[0].partition(".")[2])
    return Line(run=run, what=what, book=book, ours=f"{ours:.{decimals}{'e' if 'e' in book else 'f'}}")
