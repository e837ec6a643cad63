"""A profile as text: the operators that take longest, their kinds, and what they reach of the machine's peaks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from edgekit.edge_runtime.benchmark.table import bytes_text, ms_text
from edgekit.edge_runtime.bundle.status import stamp_of
from edgekit.edge_runtime.profiling.machine_peaks import Peaks, peaks_file
from edgekit.edge_runtime.profiling.operators import Operator
from edgekit.edge_runtime.profiling.profile import DISTORTED, Profile, typical_ns
from edgekit.edge_runtime.profiling.roofline import SHORTEST_NS, Point, points, whole
from edgekit.edge_runtime.profiling.roofline_plot import rate_text

from .terminal import TABLE_WIDTH, out

MOST_ROWS = 12
_COLUMNS = ("operator", "kind", "time", "share", "MMAC", "reaches", "op/byte", "of its roof", "bound by", "runs in")


@dataclass(frozen=True, kw_only=True)
class ProfileReport:
    """A profile and where it lies under the machine's roofs."""

    profile: Profile
    points: tuple[Point, ...]
    whole: Point | None

    @classmethod
    def of(cls, profile: Profile, peaks: Peaks) -> ProfileReport:
        return cls(profile=profile, points=tuple(points(profile, peaks)), whole=whole(profile, peaks))


def print_profile(report: ProfileReport) -> None:
    """Table of operators, then shares by kind and place, then the run as a whole, then what to know about it."""
    profile = report.profile
    console = out if out.is_terminal else Console(width=TABLE_WIDTH, highlight=False)
    console.print(_table(report))
    kinds = ", ".join(
        f"{escape(kind)} {share:.0%}{f' ({count})' if count > 1 else ''}"
        for kind, count, share in profile.by_kind()[:6]
    )
    places = ", ".join(f"{escape(place) or 'plain kernels'} {share:.0%}" for place, share in profile.by_place())
    out.print(f"by kind: {kinds}", soft_wrap=True)
    out.print(f"runs in: {places}; quantizing and dequantizing {profile.conversion_share:.0%}", soft_wrap=True)
    for line in _whole_lines(report):
        out.print(line, soft_wrap=True)
    for remark in (*_remarks(report), *profile.remarks):
        out.print(f"[yellow]{escape(remark)}[/yellow]", soft_wrap=True)
    out.print()


def print_peaks(peaks: Peaks) -> None:
    """What the roofs are, how they were measured, and when."""
    values = [
        f"{peak.name} {rate_text(peak.value) if peak.unit == 'GOP/s' else f'{peak.value:.3g} GB/s'}"
        for peak in peaks.peaks
    ]
    threads = f"{peaks.num_threads} thread" + ("s" if peaks.num_threads > 1 else "")
    out.print(
        f"[dim]Peaks of this machine ({escape(peaks.cpu)}, {threads}, {peaks.measured_at}): {', '.join(values)}. "
        "One multiply-accumulate is two operations. Kept for a day; measured again when "
        f"{escape(str(peaks_file(peaks.num_threads)))} is deleted.[/dim]",
        soft_wrap=True,
    )


def _table(report: ProfileReport) -> Table:
    profile = report.profile
    stamp = f" ({stamp_of(profile.status)})" if stamp_of(profile.status) else ""
    title = f"{profile.name}{stamp}: {ms_text(profile.run_ns / 1e6)} a run, {profile.engine}"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for i, column in enumerate(_COLUMNS):
        left = i < 2 or i >= 8
        table.add_column(column, justify="left" if left else "right", overflow="fold")
    ranked = sorted(profile.operators, key=lambda operator: -profile.share(operator))
    found = {(point.name, point.kind): point for point in report.points}
    for operator in ranked[:MOST_ROWS]:
        table.add_row(*(escape(cell) for cell in _cells(profile, operator, found.get((operator.name, operator.kind)))))
    if len(ranked) > MOST_ROWS:
        rest = ranked[MOST_ROWS:]
        time_ms, share = sum(map(typical_ns, rest)) / 1e6, sum(map(profile.share, rest))
        table.add_row(f"{len(rest)} more", "", ms_text(time_ms), f"{share:.1%}", *[""] * 6, style="dim")
    return table


def _cells(profile: Profile, operator: Operator, point: Point | None) -> list[str]:
    macs = "not known" if operator.macs is None else f"{operator.macs / 1e6:.3g}" if operator.macs else ""
    said = [operator.name, operator.kind, ms_text(typical_ns(operator) / 1e6), f"{profile.share(operator):.1%}", macs]
    if point is None:
        return [*said, "", "", "", "", operator.place]
    bound = point.memory if point.bound == "memory" else f"{operator.precision} arithmetic"
    rates = [rate_text(point.gops), f"{point.intensity:.3g}", f"{point.of_roof:.0%}", bound]
    return [*said, *rates, operator.place]


def _whole_lines(report: ProfileReport) -> Sequence[str]:
    profile, point = report.profile, report.whole
    if profile.macs is None:
        return ["whole run: its multiplications are not all known"]
    lines = [
        f"whole run: {profile.macs / 1e6:.4g} million multiply-accumulates, {bytes_text(profile.touched_bytes)} moved"
    ]
    if point is not None:
        bound = f"{point.memory} bandwidth" if point.bound == "memory" else f"{point.precision} arithmetic"
        lines[0] += (
            f" ({point.intensity:.3g} operations a byte); {rate_text(point.gops)} reached, {point.of_roof:.0%} of the "
            f"{rate_text(point.roof_gops)} that {bound} allows"
        )
    return lines


def _remarks(report: ProfileReport) -> list[str]:
    profile, remarks = report.profile, []
    if profile.distortion > DISTORTED:
        remarks.append(
            f"timed by operator a run takes {profile.distortion:.1f} times as long as a plain one: so short "
            "operators are measured with much of the profiler in them. Use the shares with care"
        )
    if profile.run_ns > DISTORTED * profile.operators_ns:
        remarks.append(
            f"the operators add up to {ms_text(profile.operators_ns / 1e6)} of {ms_text(profile.run_ns / 1e6)}: "
            "the rest lies between them, or other programs had the core"
        )
    if any(operator.macs and typical_ns(operator) < SHORTEST_NS for operator in profile.operators):
        remarks.append(f"operators below {SHORTEST_NS / 1000:g} µs are too short to be held against a roof")
    if any(point.of_roof > 1 for point in report.points):
        remarks.append("more than 100 % of a roof: other programs were running when this machine's peaks were measured")
    return remarks
