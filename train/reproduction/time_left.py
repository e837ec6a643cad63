"""How far a set of trainings has come, and how long the rest of it takes. Draws nothing, trains nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from edgekit.train.reproduction.trainings import Step, Training


class TimeLeft:
    """Hears of each step of `todo` and estimates the time left; a model's pace is known after two of its epochs.

    Args:
        epoch_s: seconds that an epoch takes, by model, where earlier runs have shown it.
        jobs: how many trainings run at the same time.
    """

    def __init__(self, todo: Sequence[Training], *, epoch_s: Mapping[str, float], jobs: int) -> None:
        self._jobs = jobs
        self._epoch_s = dict(epoch_s)
        self._models = {training.title: training.model for training in todo}
        self._at = dict.fromkeys(self._models, 0)

    def take(self, step: Step) -> None:
        """Notes one step of one training."""
        self._at[step.training.title] = step.epoch
        if step.epoch_s is not None:
            self._epoch_s[step.training.model.name] = step.epoch_s

    @property
    def done(self) -> int:
        """How many trainings have reached their last epoch."""
        return sum(epoch == self._models[title].fit.epochs for title, epoch in self._at.items())

    @property
    def text(self) -> str:
        """For a person: "12 min left"; "at least …" while the pace of some model is unknown."""
        epochs_left = {
            title: model.fit.epochs - self._at[title]
            for title, model in self._models.items()
            if self._at[title] < model.fit.epochs
        }
        paces = {title: self._epoch_s.get(self._models[title].name) for title in epochs_left}
        if paces and set(paces.values()) == {None}:
            return "time left unknown"
        known = sum(epochs * pace for title, epochs in epochs_left.items() if (pace := paces[title]) is not None)
        least = "at least " if None in paces.values() else ""
        return f"{least}{duration(known / self._jobs)} left"


def duration(seconds: float) -> str:
    """For a person: "40 s", "12 min", "3 h 05 min"."""
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60:02d} min"
