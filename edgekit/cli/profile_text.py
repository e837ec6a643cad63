"""A profile as text: the longest operators, their kinds, and how close they come to the machine's peaks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from edgekit.edge_runtime.bundle.status import stamp_of
from edgekit.edge_runtime.format import (
    bytes_text,
    count_text,
    ms_text,
    operations_text,
    percent_text,
    times_text,
)
from edgekit.edge_runtime.profiling.machine_peaks import Peaks, peaks_file
from edgekit.edge_runtime.profiling.operators import Operator
from edgekit.edge_runtime.profiling.profile import DISTORTED, Profile, typical_ns
from edgekit.edge_runtime.profiling.roofline import SHORTEST_NS, Point, points, whole

from .narrow import print_table
from .terminal import TABLE_WIDTH, out

MOST_ROWS = 12
_COLUMNS = ("operator", "kind", "time", "share", "MMAC", "rate", "op/byte", "of roof", "bound by", "runs in")


@dataclass(frozen=True, kw_only=True)
class ProfileReport:
    """A profile and where it lies under the machine's roofs."""

    profile: Profile
    """What was measured."""
    points: tuple[Point, ...]
    """Its operators under their roofs."""
    whole: Point | None
    """The run as a whole; None where its multiplications are not known."""

    @classmethod
    def of(cls, profile: Profile, peaks: Peaks) -> ProfileReport:
        return cls(profile=profile, points=tuple(points(profile, peaks)), whole=whole(profile, peaks))


def print_profile(report: ProfileReport) -> None:
    """The operators, their shares by kind and by place, the run as a whole, and remarks."""
    profile = report.profile
    console = out if out.is_terminal else Console(width=TABLE_WIDTH, highlight=False)
    print_table(_table(report), console)
    kinds = ", ".join(
        f"{escape(kind)} {percent_text(share, 0)}{f' ({count})' if count > 1 else ''}"
        for kind, count, share in profile.by_kind()[:6]
    )
    places = ", ".join(
        f"{escape(place) or 'plain kernels'} {percent_text(share, 0)}" for place, share in profile.by_place()
    )
    out.print(f"by kind: {kinds}", soft_wrap=True)
    conversions = percent_text(profile.conversion_share, 0)
    out.print(f"runs in: {places}; quantizing and dequantizing {conversions}", soft_wrap=True)
    for line in _whole_lines(report):
        out.print(line, soft_wrap=True)
    for remark in (*_remarks(report), *profile.remarks):
        out.print(f"[yellow]{escape(remark)}[/yellow]", soft_wrap=True)
    out.print()


def print_peaks(peaks: Peaks) -> None:
    """What the roofs are and when they were measured."""
    values = [
        f"{peak.name} {operations_text(peak.value) if peak.unit == 'GOP/s' else f'{peak.value:.3g} GB/s'}"
        for peak in peaks.peaks
    ]
    threads, place = count_text(peaks.num_threads, "thread"), peaks_file(peaks.num_threads)
    kept = f" The peaks are kept for a day; to measure them now, delete {escape(str(place))}." if place else ""
    out.print(
        f"[dim]Peaks of this machine ({escape(peaks.cpu)}, {threads}, {peaks.measured_at}): {', '.join(values)}. "
        f"One multiply-accumulate counts as two operations.{kept}[/dim]",
        soft_wrap=True,
    )


def _table(report: ProfileReport) -> Table:
    profile = report.profile
    stamp = f" ({stamp_of(profile.status)})" if stamp_of(profile.status) else ""
    title = f"{profile.name}{stamp}: {ms_text(profile.run_ns / 1e6)} per run, {profile.engine}"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for i, column in enumerate(_COLUMNS):
        left = i < 2 or i >= 8
        table.add_column(column, justify="left" if left else "right", overflow="fold")
    ranked = sorted(profile.operators, key=lambda operator: -profile.share(operator))
    points = {(point.name, point.kind): point for point in report.points}
    for operator in ranked[:MOST_ROWS]:
        table.add_row(*(escape(cell) for cell in _cells(profile, operator, points.get((operator.name, operator.kind)))))
    if len(ranked) > MOST_ROWS:
        rest = ranked[MOST_ROWS:]
        time_ms, share = sum(map(typical_ns, rest)) / 1e6, sum(map(profile.share, rest))
        table.add_row(f"{len(rest)} more", "", ms_text(time_ms), percent_text(share), *[""] * 6, style="dim")
    return table


def _cells(profile: Profile, operator: Operator, point: Point | None) -> list[str]:
    macs = "unknown" if operator.macs is None else f"{operator.macs / 1e6:.3g}" if operator.macs else ""
    share = percent_text(profile.share(operator))
    first = [operator.name, operator.kind, ms_text(typical_ns(operator) / 1e6), share, macs]
    if point is None:
        return [*first, "", "", "", "", operator.place]
    bound = point.memory if point.bound == "memory" else f"{operator.precision} arithmetic"
    rates = [operations_text(point.gops), f"{point.intensity:.3g}", percent_text(point.of_roof, 0), bound]
    return [*first, *rates, operator.place]


def _whole_lines(report: ProfileReport) -> Sequence[str]:
    profile, point = report.profile, report.whole
    if profile.macs is None:
        return ["whole run: not all of its multiplications are known"]
    lines = [
        f"whole run: {profile.macs / 1e6:.4g} million multiply-accumulates, {bytes_text(profile.touched_bytes)} moved"
    ]
    if point is not None:
        bound = f"{point.memory} bandwidth" if point.bound == "memory" else f"{point.precision} arithmetic"
        lines[0] += (
            f" ({point.intensity:.3g} operations per byte), {operations_text(point.gops)}: "
            f"{percent_text(point.of_roof, 0)} of the {operations_text(point.roof_gops)} that {bound} allows"
        )
    return lines


def _remarks(report: ProfileReport) -> list[str]:
    profile, remarks = report.profile, []
    if profile.distortion > DISTORTED:
        remarks.append(
            f"the profiler makes a run {times_text(profile.distortion)} as long, because the operators are so short: "
            "treat the shares with care"
        )
    if profile.run_ns > DISTORTED * profile.operators_ns:
        remarks.append(
            f"the operators add up to {ms_text(profile.operators_ns / 1e6)} of {ms_text(profile.run_ns / 1e6)}: the "
            "rest is spent between them, or other programs used the core"
        )
    if any(operator.macs and typical_ns(operator) < SHORTEST_NS for operator in profile.operators):
        remarks.append(f"operators under {ms_text(SHORTEST_NS / 1e6)} are too short to compare with a roof")
    if any(point.of_roof > 1 for point in report.points):
        remarks.append("more than 100 % of a roof: other programs ran while this machine's peaks were measured")
    return remarks
