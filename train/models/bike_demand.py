"""How many bikes tomorrow, hour by hour? A small net for chapter 4's time series. Our own design."""

# No `from __future__ import annotations` here: torch.jit.script cannot read a module's attribute types from strings.

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgekit.edge_runtime.bundle.manifest import TensorSpec
from edgekit.train.book_model import BookModel, FitConfig, Target
from edgekit.train.data import bikes


class BikeDemand(nn.Module):
    """(N, 7, 24, 17) float32, the raw rows of seven days, to (N, 24): the next day's rentals, hour by hour.

    A linear path from the last 168 hours carries the level, which grows over the years. A small net corrects it by
    yesterday's weather and by the weekday, which is one-hot coded here (chapter 4, section 4.4.3).
    """

    weekdays: Tensor
    weather_shift: Tensor
    weather_scale: Tensor

    def __init__(self, hidden: int = 64) -> None:
        super().__init__()
        hours = bikes.WINDOW_DAYS * bikes.HOURS
        self.level = nn.Linear(hours, bikes.HOURS)
        self.fc1 = nn.Linear(hours + 5 * bikes.HOURS + 2 + 7, hidden)
        self.fc2 = nn.Linear(hidden, hidden)
        self.fc3 = nn.Linear(hidden, bikes.HOURS)
        self.dropout = nn.Dropout(0.3)
        self.register_buffer("weekdays", torch.arange(7, dtype=torch.float32), persistent=False)
        # weathersit is 1 to 4, which becomes 0 to 1; temp, atemp, hum and windspeed are in 0..1 already.
        self.register_buffer("weather_shift", torch.tensor([-1.0, 0, 0, 0, 0]), persistent=False)
        self.register_buffer("weather_scale", torch.tensor([1 / 3, 1, 1, 1, 1]), persistent=False)

    def forward(self, days: Tensor) -> Tensor:
        counts = days[:, :, :, 16].flatten(1) / 200  # (N, 168); 200 rentals are about one standard deviation
        yesterday = days[:, 6]  # (N, 24, 17)
        weather = ((yesterday[:, :, 9:14] + self.weather_shift) * self.weather_scale).flatten(1)  # (N, 120)
        noon = yesterday[:, 12]  # (N, 17)
        weekday = torch.eq(noon[:, 7:8], self.weekdays).to(torch.float32)  # (N, 7)
        x = torch.cat([counts, weather, noon[:, 6:7], noon[:, 8:9], weekday], dim=1)  # (N, 297)
        x = self.dropout(F.relu(self.fc1(x)))
        x = self.dropout(F.relu(self.fc2(x)))
        return 200 * (self.level(counts) + self.fc3(x))


MODEL = BookModel(
    name="bike_demand",
    chapter=4,
    summary="the next day's bike rentals, each hour, from the hours of seven days",
    task="regression",
    build=BikeDemand,
    data=bikes.bikes,
    normalization=None,
    preprocessing=None,
    takes=TensorSpec(name="days", dtype="float32", shape=(1, bikes.WINDOW_DAYS, bikes.HOURS, len(bikes.COLUMNS))),
    labels=bikes.LABELS,
    fit=FitConfig(
        epochs=100, batch_size=32, learning_rate=1e-3, optimizer="adam", weight_decay=1e-3, seed=123, cpu_threads=1
    ),
    target=Target(
        metric="mean_absolute_error",
        value=79.14,
        source="the same hour yesterday, on the same 146 days; chapter 4 reports no figure",
    ),
)
