"""`edgekit optimize`: a request out of what was typed, what happens as lines and bars, and the table at the end."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping
from contextlib import ExitStack, nullcontext
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any

from edgekit.edge_runtime.benchmark import measurement
from edgekit.edge_runtime.benchmark.measure import Progress
from edgekit.edge_runtime.bundle.manifest import Manifest
from edgekit.edge_runtime.bundle.status import STATUSES, tone_of
from edgekit.edge_runtime.command_line import EDGEKIT
from edgekit.edge_runtime.decode import to_plain
from edgekit.edge_runtime.devices.targets import whose_figures
from edgekit.edge_runtime.errors import UsageError
from edgekit.edge_runtime.format import metric_name, percent_text, value_text
from edgekit.edge_runtime.profiling.front_end import NOTABLE
from edgekit.optimize import events
from edgekit.optimize.api import Result, optimize, results_path
from edgekit.optimize.report.page import write_report
from edgekit.optimize.user_model.picture_samples import read_labels
from edgekit.optimize.user_model.request import Request, read_request

from .json_answer import print_json
from .report import closing_lines, next_commands
from .terminal import Clock, err, escape, out, print_measurement, progress, stage_line


def optimize_command(typed: Mapping[str, Any], file: Path | None, *, as_json: bool) -> bool:
    """Carries out the options `typed`, by the names of `Request`; they go before those of a `file`.

    Returns whether all passed.
    """
    return optimize_and_print(request_of(typed, file), as_json=as_json)


def request_of(typed: Mapping[str, Any], file: Path | None = None) -> Request:
    """The request that a file and the typed options make together.

    Raises:
        UsageError: no model, or an option that cannot be read.
        MissingData, InputError: a file of labels that is not there, or is none.
    """
    kept = read_request(file) if file else {}
    asked = kept | {name: _READ[name](value) if name in _READ else value for name, value in typed.items()}
    if "model" not in asked:
        raise UsageError(f"say which model: {EDGEKIT} optimize WHAT, or --from FILE. `{EDGEKIT} models` lists some")
    return Request(**asked)


def optimize_and_print(request: Request, *, as_json: bool = False) -> bool:
    """Packs, verifies and measures; writes results.json and report.html beside the run. Returns whether all passed."""
    with Teller(as_json=as_json) as teller:
        result = optimize(request, on_event=teller.tell)
    return finish(result, request, as_json=as_json)


def finish(result: Result, request: Request, *, as_json: bool) -> bool:
    """Writes results.json and report.html, prints the table and the verdict; returns whether nothing failed."""
    delivered, measured = result.delivered, result.measured
    results = results_path(request, measured.model)
    if delivered.measured_before:  # the raw samples beside it stay
        measurement.save_rows(measured, results)
    else:
        measurement.save(measured, delivered.results, results, answers=delivered.answers)
    report = write_report(measured, results.with_name("report.html"))
    if as_json:
        print_json(to_plain(measured))
    else:
        print_measurement(measured)
        text = f"Bundles in {request.out}/, raw measurements in {results}, report in {report}"
        out.print(text, soft_wrap=True, markup=False)
        for line in closing_lines(measured):
            out.print(line, soft_wrap=True)
        if request.target is not None:
            out.print(whose_figures(request.target), soft_wrap=True)
        for line in next_commands(measured, results):
            out.print(f"[yellow]{escape(line)}[/yellow]", soft_wrap=True)
        if delivered.packed:
            out.print(f"[dim]{escape(travelling(delivered.packed[0].manifest))}[/dim]", soft_wrap=True)
    if request.strict and any(row.status in STATUSES and STATUSES[row.status].strict for row in measured.rows):
        return False
    return all(row.status == "not tried" for row in delivered.failed)


def travelling(manifest: Manifest) -> str:
    """Which samples travel with every bundle, and from where: they may be a patient's scan."""
    golden, count = manifest.origin.golden, manifest.golden.samples
    where = golden.source or "a source that nobody named"
    text = f"Golden samples: {count:,} real inputs, of {where}, travel with every bundle, readable to whoever has it."
    if golden.source.startswith("random"):
        return f"Golden samples: {count:,} random inputs travel with every bundle."
    if golden.may_travel:
        return f"{text} You named them with --golden."
    return f"{text} If they may not be handed on, --golden DIR names samples that may"


class Teller:
    """Tells events as they come: lines on stdout, bars on stderr. With `as_json` lines go to stderr, without bars."""

    def __init__(self, *, as_json: bool = False):
        self._console, self._quiet, self._stderr = (err if as_json else out), as_json, sys.stderr
        self._bars = ExitStack()
        self._bar: Progress | None = None
        self._clock: Clock | None = None

    def __enter__(self) -> Teller:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._close()

    def tell(self, event: events.Event) -> None:
        match event:
            case events.TrainingProgress(done=done, total=total):
                self._step("Training in 8 bits", done, total)
            case events.MeasuringProgress(done=done, total=total):
                self._step("Measuring, interleaved", done, total)
            case events.StepBegun(text=text):
                self._close()
                self._clock = None if self._quiet else Clock(text, self._stderr)
            case events.Trial(text=text):  # also between two steps of a bar, or of what the clock stands beside
                with self._clock.hidden() if self._clock else nullcontext():
                    self._say(f"    [dim]{escape(text)}[/dim]")
            case _:
                self._close()
                for line in lines_of(event):
                    self._say(line)

    def _say(self, line: str) -> None:
        self._console.print(line, soft_wrap=True)

    def _step(self, label: str, done: int, total: int) -> None:
        if self._bar is None:
            self._close()
            self._bar = self._bars.enter_context(progress(label, quiet=self._quiet))
        self._bar(done, total)
        if done == total:
            self._close()

    def _close(self) -> None:
        """Takes the bar or the clock off the terminal."""
        self._bars.close()
        self._bar = None
        if self._clock is not None:
            self._clock.close()
            self._clock = None


def lines_of(event: events.Event) -> list[str]:
    """What is printed of an event, in rich's markup."""
    match event:
        case events.Remark(text=text):
            return [f"  [dim]{escape(text)}[/dim]"]
        case events.RecipesLeftOut(recipes=recipes):
            why = "there are no samples to calibrate on (--calibration)"
            return [f"  [yellow]{', '.join(recipes)} left out: {why}[/yellow]"]
        case events.FloatMeasured(model=model, metric=metric, samples=samples):
            if metric is None:
                why = f"no true answers were given; the answers to {samples:,} samples are compared"
                return [f"[bold]{escape(model)}[/bold] float: accuracy not measured, since {why}"]
            value = f"{metric_name(metric.name)} {value_text(metric.name, metric.value)}"
            return [f"[bold]{escape(model)}[/bold] float: {escape(value)} on {metric.samples:,} validation samples"]
        case events.BundleBegun(name=name, exporter_summary=exporter, recipe_summary=recipe):
            return [f"[bold]{escape(name)}[/bold]  [dim]{escape(exporter)}; {escape(recipe)}[/dim]"]
        case events.StageChecked(result=result, outputs=outputs):
            return [stage_line(result, named=outputs > 1)]
        case events.BundleUnchanged():
            return ["  [green]✓[/green] unchanged since it was packed"]
        case events.BundlePacked(manifest=manifest):
            notes, lines = manifest.provenance, [_verdict_line(manifest)]
            if "rewrites" in notes:
                lines.append(f"    [dim]rewritten: {escape(notes['rewrites'])}[/dim]")
            if "delegated_operators" in notes:
                count, outside = notes["delegated_operators"], notes["outside_delegate"]
                lines.append(f"    [dim]{escape(count)} operators delegated, outside: {escape(outside)}[/dim]")
            return lines
        case events.BundleFailed(reason=reason, earlier=earlier):
            again = " (an earlier attempt; --again makes another)" if earlier else ""
            return [f"  [red]✗ {escape(reason)}{again}[/red]"]
        case events.BundleNotTried(name=name):
            return [f"[bold]{escape(name)}[/bold]  [yellow]not tried: the time budget was spent[/yellow]"]
        case events.FrontEndMeasured(name=name, share=share, kinds=kinds) if share > NOTABLE:
            where = ", ".join(kinds)
            text = f"{name}: {percent_text(share, 0)} of its time goes by before the first layer, in {where}"
            return [f"  [yellow]{escape(text)}[/yellow]"]
        case events.MeasuredBefore(measured_at=when):
            return [f"  [green]✓[/green] nothing changed since it was measured, {when}; --again measures anew"]
    return []


def _verdict_line(manifest: Manifest) -> str:
    """Like "  ✓ verified: accuracy lost 0.00 points, …"."""
    tone = {"good": "green", "fair": "yellow", "bad": "red"}[tone_of(manifest.status)]
    mark = "✓" if tone == "green" else "!"
    reason = f": {manifest.verdict.reason}" if manifest.verdict else ""
    return f"  [{tone}]{mark} {manifest.status.replace('_', ' ')}{escape(reason)}[/{tone}]"


def seconds_of(text: str) -> float:
    """A length of time as one types it: 90, 90s, 10m or 1h. Raises UsageError."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smh]?)", text.strip())
    if match is None:
        raise UsageError(f"a time budget should be like 90s, 10m or 1h, found {text!r}")
    return float(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[match[2]]


def _numbers(option: str, text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise UsageError(f"{option} {text!r} should be numbers with commas, like 0.485,0.456,0.406") from None


# What is typed otherwise than the record keeps it.
_READ: dict[str, Callable[[Any], Any]] = {
    "labels": read_labels,
    "time_budget_s": seconds_of,
    "mean": partial(_numbers, "--mean"),
    "std": partial(_numbers, "--std"),
}
