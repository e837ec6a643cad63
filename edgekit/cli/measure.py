"""`edgekit benchmark --scenario` and `--profile`: MLPerf's LoadGen, and time by operator, as text or JSON."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path

from edgekit.edge_runtime.benchmark.scaling import Sweep
from edgekit.edge_runtime.bundle.status import PROVEN
from edgekit.edge_runtime.decode import canonical_json, to_plain
from edgekit.edge_runtime.errors import UsageError
from edgekit.edge_runtime.files import check_output, require_writable, write_bytes
from edgekit.edge_runtime.format import count_text, db_text, ms_text, percent_text
from edgekit.edge_runtime.loadgen.scenarios import (
    MLPERF_DURATION_S,
    SCENARIOS,
    LoadgenResult,
    LoadgenSettings,
    require_loadgen,
    run_scenarios,
)
from edgekit.edge_runtime.machine.cpu import machine
from edgekit.edge_runtime.profiling.machine_peaks import machine_peaks
from edgekit.edge_runtime.profiling.profile import profile_bundle
from edgekit.edge_runtime.profiling.roofline_plot import roofline_svg
from edgekit.edge_runtime.worker.policy import NO_CODE, Policy

from .bundles import expand_folders, open_all
from .json_answer import print_json
from .profile_text import ProfileReport, print_peaks, print_profile
from .terminal import err, escape, out, progress, stamp_markup

ONE_EACH = Sweep()
PROFILE_S, QUICK_PROFILE_S = 3.0, 0.5  # for each bundle
DEFAULT_LOGS = Path("runs/loadgen")


def loadgen(
    paths: Sequence[Path],
    scenario: str,
    *,
    duration_s: float,
    qps: float | None,
    latency_ms: float | None,
    logs: Path | None,
    engine: str | None = None,
    as_json: bool,
    sweep: Sweep = ONE_EACH,
    policy: Policy = NO_CODE,
) -> None:
    """Runs one bundle after the other under LoadGen and prints its verdict, its metric and where its logs are."""
    threads = _only_threads(sweep, "--scenario")
    settings = LoadgenSettings(
        scenario=scenario,
        duration_s=duration_s,
        qps=qps,
        latency_ms=latency_ms,
        num_threads=threads,
        engine=engine,
        allow=policy.allow,
    )
    require_loadgen()
    check_output(logs or DEFAULT_LOGS, expand_folders(paths))
    with _opened(paths, policy) as bundles:
        if not as_json:
            out.print(f"[bold]{scenario}[/bold]: {SCENARIOS[scenario].about}", soft_wrap=True)
            err.print(f"[dim]Running each bundle under load, for {duration_s:g} s or more …[/dim]")
        on_result = _print_nothing if as_json else _print_loadgen
        results = run_scenarios(bundles, settings, logs or DEFAULT_LOGS, on_result=on_result)
    if as_json:
        print_json([asdict(result) | {"valid": result.valid} for result in results])
        return
    out.print(
        f"[dim]LoadGen {results[0].loadgen}, {count_text(threads, 'thread')}. Not an MLPerf submission: it ran for "
        f"{duration_s:g} s, not {MLPERF_DURATION_S} s, and on golden inputs, not on a data set.[/dim]",
        soft_wrap=True,
    )


def _print_loadgen(result: LoadgenResult) -> None:
    style = "green" if result.valid else "bold red"
    stamp = f" {stamp_markup(result.status)}" if stamp_markup(result.status) else ""
    value = SCENARIOS[result.scenario].text(result.value)
    latencies = f"p50 {ms_text(result.p50_ms)}, p90 {ms_text(result.p90_ms)}, p99 {ms_text(result.p99_ms)}"
    if result.scenario == "Offline":  # all samples come at once: a latency only says how far back a sample was queued
        latencies = ""
    reference = "the float model's" if result.status in PROVEN else "its own when it was packed"
    details = [
        f"{count_text(result.samples, 'sample')} in {result.seconds:.1f} s",
        *([latencies] if latencies else []),
        f"answers under load against {reference}: SQNR {db_text(result.sqnr_db)}, agrees on "
        f"{percent_text(result.agreement)}",
        result.engine,
    ]
    out.print(
        f"[{style}]{result.verdict}[/{style}] {escape(result.name)}{stamp}: {result.metric} [bold]{value}[/bold]  "
        f"[dim]({escape('; '.join(details))})[/dim]",
        soft_wrap=True,
    )
    if result.target_qps and result.latency_bound_ms:
        chosen = f" [dim]({escape(result.chosen)})[/dim]" if result.chosen else ""
        rate, bound = f"{result.target_qps:,.4g} queries/s", ms_text(result.latency_bound_ms)
        out.print(f"    target: {rate}, 99 % of them answered within {bound}{chosen}", soft_wrap=True)
    for reason in result.invalid_because:
        out.print(f"    [yellow]{escape(reason)}[/yellow]", soft_wrap=True)
    out.print(f"    logs: {escape(result.logs)}", soft_wrap=True)


def _print_nothing(result: LoadgenResult) -> None:
    pass


def profile(
    paths: Sequence[Path],
    *,
    quick: bool,
    save_to: Path | None,
    as_json: bool,
    sweep: Sweep = ONE_EACH,
    policy: Policy = NO_CODE,
) -> None:
    """Profiles one bundle after the other, prints its operators against this machine's peaks, and keeps all of it."""
    threads, seconds = _only_threads(sweep, "--profile"), QUICK_PROFILE_S if quick else PROFILE_S
    if save_to is not None:
        check_output(save_to, expand_folders(paths))
        require_writable(save_to)
    profiles = []
    with _opened(paths, policy) as bundles, progress("Profiling", quiet=as_json) as on_progress:
        peaks = machine_peaks(threads)
        for i, path in enumerate(bundles):
            on_progress(i, len(bundles))
            profiles.append(profile_bundle(path, num_threads=threads, seconds=seconds, allow=policy.allow))
    reports = [ProfileReport.of(profile, peaks) for profile in profiles]
    if any(point.of_roof > 1 for report in reports for point in report.points):
        # The machine can do more than its peaks say: perhaps other programs ran while they were measured.
        peaks = machine_peaks(threads, again=True)
        reports = [ProfileReport.of(profile, peaks) for profile in profiles]
    plain = {"machine": machine(), "peaks": to_plain(peaks), "bundles": [to_plain(report) for report in reports]}
    if save_to is not None:
        write_bytes(save_to / "profile.json", canonical_json(plain))
        every = [point for report in reports for point in report.points]
        wholes = [report.whole for report in reports if report.whole]
        if svg := roofline_svg(every, wholes, peaks):
            write_bytes(save_to / "roofline.svg", svg.encode())
    if as_json:
        print_json(plain)
        return
    for report in reports:
        print_profile(report)
    print_peaks(peaks)
    if save_to is not None:
        out.print(f"Kept in {escape(str(save_to))}: profile.json, roofline.svg", soft_wrap=True)


@contextmanager
def _opened(paths: Sequence[Path], policy: Policy) -> Iterator[list[Path]]:
    """The folders of the checked bundles; that of a `.zip` lasts as long as this context."""
    with ExitStack() as opened:
        yield [bundle.folder for bundle in open_all(paths, policy, opened)]


def _only_threads(sweep: Sweep, option: str) -> int:
    """The number of threads, where only one is allowed. Raises UsageError."""
    if len(sweep.threads) > 1 or sweep.batches != (1,):
        raise UsageError(
            f"{option} measures single samples with one number of threads: leave out --scaling and --batch"
        )
    return sweep.threads[0]
