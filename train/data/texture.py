"""Smooth random functions of a place, which make the synthetic nodules ragged outside and mottled inside."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Field = Callable[[np.ndarray], np.ndarray]  # places (3, …) to numbers (…)
Waves = tuple[np.ndarray, np.ndarray]


def draw_waves(random: np.random.Generator, frequency: float) -> Waves:
    """Six waves in random directions, (6, 3), of about `frequency` radians a unit, and their phases (6,)."""
    return random.normal(0, frequency, (6, 3)), random.uniform(0, 2 * np.pi, 6)


def waves(drawn: Waves, height: float, *, around: float = 0, clip: tuple[float, float] = (-np.inf, np.inf)) -> Field:
    """The sum of their sines at places (3, …), times `height`."""
    directions, phases = drawn

    def field(places: np.ndarray) -> np.ndarray:
        sines = np.sin(np.tensordot(directions, places, 1) + phases[:, None, None, None])
        return np.clip(around + height * sines.sum(axis=0), *clip)

    return field
