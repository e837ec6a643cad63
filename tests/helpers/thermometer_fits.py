"""Other ways to fit chapter 5's thermometer, which its descents are checked against."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from edgekit.train.models.thermometer_steps import CELSIUS, loss_of, model, readings


def least_squares(
    indices: Sequence[int] = range(len(CELSIUS)), *, normalized: bool = True
) -> tuple[float, float, float]:
    """(w, b, loss) where the loss of the given readings is smallest: what every descent converges to."""
    t_u, t_c = (values[list(indices)].double() for values in readings(normalized=normalized))
    table = torch.stack([t_u, torch.ones_like(t_u)], dim=1)  # (n, 2)
    w, b = torch.linalg.lstsq(table, t_c[:, None]).solution[:, 0]
    return float(w), float(b), float(loss_of(model(t_u, w, b), t_c))


def descend(module: nn.Module, learning_rate: float, epochs: int, validation: Sequence[int]) -> tuple[float, float]:
    """Chapter 6: trains a (N, 1) to (N, 1) module by SGD on normalized readings; its (train, validation) loss after."""
    t_u, t_c = (values[:, None] for values in readings(normalized=True))  # (11, 1)
    held = list(validation)
    train = [i for i in range(len(t_c)) if i not in held]
    optimizer = torch.optim.SGD(module.parameters(), lr=learning_rate)
    for _ in range(epochs):
        loss = loss_of(module(t_u[train]), t_c[train])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        return tuple(float(loss_of(module(t_u[part]), t_c[part])) for part in (train, held))  # type: ignore[return-value]
