"""What happens while a model is optimized, one small record each. Whoever asked formats them; nothing here prints.

optimize(request, on_event=lambda event: print(event))
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from edgekit.edge_runtime.bundle.manifest import Manifest, Metric, StageResult


@dataclass(frozen=True, kw_only=True)
class Remark:
    """Something that was found out about a user's model or its samples."""

    text: str


@dataclass(frozen=True, kw_only=True)
class RecipesLeftOut:
    """There are no samples to calibrate these recipes on."""

    recipes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class FloatMeasured:
    """The float model has answered all `samples`; `metric` is None where nothing says how good its answers are."""

    model: str
    metric: Metric | None
    samples: int


@dataclass(frozen=True, kw_only=True)
class BundleBegun:
    """The bundle `name` is next."""

    name: str
    exporter_summary: str
    recipe_summary: str


@dataclass(frozen=True, kw_only=True)
class StepBegun:
    """Something that may take minutes begins, like "lowering for XNNPACK"; it lasts until the next event."""

    text: str


@dataclass(frozen=True, kw_only=True)
class StageChecked:
    """One stage of the bundle was compared with the one before it, in one of its outputs."""

    result: StageResult
    outputs: int
    """How many outputs there are."""


@dataclass(frozen=True, kw_only=True)
class Trial:
    """A recipe that chooses by measuring has tried something; `text` says what came of it."""

    text: str


@dataclass(frozen=True, kw_only=True)
class TrainingProgress:
    """Steps of quantization-aware training."""

    done: int
    total: int


@dataclass(frozen=True, kw_only=True)
class BundleUnchanged:
    """The bundle is kept: an earlier run made it from the same inputs."""

    name: str


@dataclass(frozen=True, kw_only=True)
class BundlePacked:
    """The bundle is finished and in its place."""

    name: str
    manifest: Manifest


@dataclass(frozen=True, kw_only=True)
class BundleFailed:
    """There is no such bundle. `earlier`: the same attempt failed in an earlier run, and was not made again."""

    name: str
    reason: str
    earlier: bool = False


@dataclass(frozen=True, kw_only=True)
class BundleNotTried:
    """The time budget was spent before the bundle's turn."""

    name: str


@dataclass(frozen=True, kw_only=True)
class MeasuringProgress:
    """Steps of the measurement of all bundles."""

    done: int
    total: int


@dataclass(frozen=True, kw_only=True)
class FrontEndMeasured:
    """The `share` of a bundle's time that goes by before its first layer, and the `kinds` of operators it goes into."""

    name: str
    share: float
    kinds: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class MeasuredBefore:
    """Nothing has changed since an earlier run measured these bundles, at `measured_at` (UTC, ISO 8601)."""

    measured_at: str


Event = (
    Remark
    | RecipesLeftOut
    | FloatMeasured
    | BundleBegun
    | StepBegun
    | StageChecked
    | Trial
    | TrainingProgress
    | BundleUnchanged
    | BundlePacked
    | BundleFailed
    | BundleNotTried
    | MeasuringProgress
    | FrontEndMeasured
    | MeasuredBefore
)
OnEvent = Callable[[Event], None]


def ignore(event: Event) -> None:
    """Hears an event and does nothing."""
