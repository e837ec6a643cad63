"""Chapter 5's thermometer, worked out step by step: by hand-written gradient, by autograd, by PyTorch's optimizers.

`t_c = w * t_u + b` for eleven readings; like the book's, every run starts at w = 1 and b = 0. The same through the
ordinary loop, and chapter 6's nets, are in `thermometer.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

CELSIUS = (0.5, 14.0, 15.0, 28.0, 11.0, 8.0, 3.0, -4.0, 6.0, 13.0, 21.0)
UNKNOWN = (35.7, 55.9, 58.2, 81.9, 56.3, 48.9, 33.9, 21.8, 48.4, 60.4, 68.4)  # the other thermometer, in its own unit
SCALE = 0.1  # what the book normalizes by: t_un = 0.1 t_u
VALIDATION = (2, 10)  # the readings that chapter 5 holds out
VALIDATION_CHAPTER_6 = (7, 10)

Optimizer = Callable[[list[Tensor]], torch.optim.Optimizer]


@dataclass(frozen=True, kw_only=True)
class Descent:
    """A finished run."""

    losses: tuple[float, ...]
    """`losses[k]` is the loss before step k + 1, which the book prints for epoch k + 1."""
    weight: float
    """After the last step."""
    bias: float
    """After the last step."""
    gradient: tuple[float, float]
    """The last one used: (d loss / d w, d loss / d b)."""
    validation: tuple[float, ...] = ()
    """As `losses`, on the held-out readings; empty if there are none."""


def readings(*, normalized: bool) -> tuple[Tensor, Tensor]:
    """(t_u or 0.1 t_u, t_c), each (11,) float32."""
    unknown = torch.tensor(UNKNOWN)
    return (SCALE * unknown if normalized else unknown), torch.tensor(CELSIUS)


def model(t_u: Tensor, w: Tensor, b: Tensor) -> Tensor:
    return w * t_u + b


def loss_of(predicted: Tensor, truth: Tensor) -> Tensor:
    """Mean squared error, in square degrees Celsius."""
    return ((predicted - truth) ** 2).mean()


def gradient_by_hand(t_u: Tensor, t_c: Tensor, w: Tensor, b: Tensor) -> Tensor:
    """(2,): d loss / d w and d loss / d b by the chain rule, summed over the readings (section 5.4.2)."""
    by_prediction = 2 * (model(t_u, w, b) - t_c) / len(t_c)
    return torch.stack([(by_prediction * t_u).sum(), by_prediction.sum()])


def by_hand(learning_rate: float, epochs: int, *, normalized: bool) -> Descent:
    """Gradient descent with the hand-written gradient; stops after the first loss that is not finite."""
    t_u, t_c = readings(normalized=normalized)
    parameters, gradient = torch.tensor([1.0, 0.0]), torch.zeros(2)
    losses: list[float] = []
    for _ in range(epochs):
        losses.append(float(loss_of(model(t_u, *parameters), t_c)))
        gradient = gradient_by_hand(t_u, t_c, *parameters)
        parameters = parameters - learning_rate * gradient
        if not torch.isfinite(torch.tensor(losses[-1])):
            break
    return _descent(losses, parameters, gradient)


def by_autograd(learning_rate: float, epochs: int, *, normalized: bool) -> Descent:
    """The same descent; the gradient is autograd's, the step is ours (section 5.5.1)."""
    t_u, t_c = readings(normalized=normalized)
    parameters = torch.tensor([1.0, 0.0], requires_grad=True)
    losses: list[float] = []
    gradient = torch.zeros(2)
    for _ in range(epochs):
        loss = loss_of(model(t_u, *parameters), t_c)
        losses.append(float(loss.detach()))
        (gradient,) = torch.autograd.grad(loss, parameters)
        with torch.no_grad():
            parameters -= learning_rate * gradient
    return _descent(losses, parameters, gradient)


def by_optimizer(optimizer_of: Optimizer, epochs: int, *, normalized: bool, validation: Sequence[int] = ()) -> Descent:
    """Autograd's gradient and an optimizer's step (sections 5.5.2 and 5.5.3).

    Args:
        optimizer_of: the parameters to an optimizer, such as `lambda p: torch.optim.Adam(p, lr=0.1)`.
        validation: readings to hold out; the others train.
    """
    t_u, t_c = readings(normalized=normalized)
    held = list(validation)
    train = [i for i in range(len(t_c)) if i not in held]
    parameters = torch.tensor([1.0, 0.0], requires_grad=True)
    optimizer = optimizer_of([parameters])
    losses: list[float] = []
    validated: list[float] = []
    for _ in range(epochs):
        loss = loss_of(model(t_u[train], *parameters), t_c[train])
        losses.append(float(loss.detach()))
        if held:
            with torch.no_grad():
                validated.append(float(loss_of(model(t_u[held], *parameters), t_c[held])))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    gradient = torch.zeros(2) if parameters.grad is None else parameters.grad
    return _descent(losses, parameters, gradient, validated)


def _descent(losses: list[float], parameters: Tensor, gradient: Tensor, validation: Sequence[float] = ()) -> Descent:
    w, b = parameters.tolist()
    by_w, by_b = gradient.tolist()
    return Descent(losses=tuple(losses), weight=w, bias=b, gradient=(by_w, by_b), validation=tuple(validation))
