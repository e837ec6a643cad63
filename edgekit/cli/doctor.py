"""`edgekit doctor`: what of edgekit works on this machine, as a table and plain sentences, or as JSON."""

from __future__ import annotations

import time

from rich import box
from rich.markup import escape
from rich.table import Table

from edgekit.edge_runtime.benchmark.table import bytes_text
from edgekit.edge_runtime.decode import to_plain
from edgekit.edge_runtime.doctor.doctor import Diagnosis, EngineReport, diagnose

from .bundles import print_json
from .terminal import err, out

_STYLES = {"works": "green", "broken": "bold red", "not installed": "dim", "not tried": "yellow"}
_FACTS = {"runtime": "runs through", "shim": "C++ shim, compiled", "compiler": "C++ compiler"}


def doctor(*, deep: bool, build: bool, as_json: bool) -> bool:
    """Tries every engine and prints what was found; returns whether all that is installed works.

    Args:
        deep: also try engines that compile a model first.
        build: compile ExecuTorch's C++ shim first, or say why it cannot be.
    Raises:
        MissingDependency, EngineError: `build` was asked for and is not possible.
    """
    if build:
        _build()
    if not as_json:
        err.print("[dim]Trying each engine with a tiny int8 model, in a process of its own …[/dim]")
    found = diagnose(deep=deep)
    if as_json:
        print_json(to_plain(found) | {"healthy": found.healthy})
        return found.healthy
    _print_machine(found)
    out.print(_table(found))
    for report in found.engines:
        _print_rest(report)
    broken = [report.engine for report in found.engines if report.state == "broken"]
    out.print(f"[bold red]Broken: {', '.join(broken)}.[/bold red]" if broken else "Everything that is installed works.")
    return found.healthy


def _build() -> None:
    from edgekit.edge_runtime.engines.executorch_build import build

    start = time.monotonic()
    path = build()
    err.print(f"ExecuTorch's C++ shim is {escape(str(path))} ({time.monotonic() - start:.1f} s)", soft_wrap=True)


def _print_machine(found: Diagnosis) -> None:
    machine = found.machine
    int8 = ", ".join(machine.int8_isa) or "no instructions for it: 8 bits make files smaller here, not faster"
    lines = {
        "processor": f"{machine.cpu}, {machine.cores} cores, {bytes_text(machine.memory_bytes)} memory",
        "int8": int8,
        "vectors": ", ".join(machine.vector_isa) or "not told by the system",
        "system": f"{machine.system}, Python {machine.python}",
    }
    for key, value in lines.items():
        out.print(f"[bold]{key:>10}[/bold]  {escape(value)}", soft_wrap=True)


def _table(found: Diagnosis) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for column in ("engine", "state", "version", "provides", "took"):
        table.add_column(column, overflow="fold", justify="right" if column == "took" else "left")
    for report in found.engines:
        table.add_row(
            report.engine,
            f"[{_STYLES[report.state]}]{report.state}[/]",
            escape(report.version),
            escape(", ".join(report.provides)),
            f"{report.seconds:.1f} s" if report.seconds else "",
        )
    return table


def _print_rest(report: EngineReport) -> None:
    """What does not fit into the table: how the model came out, where things lie, what to do."""
    remedy = f" [bold]→ {escape(report.remedy)}[/bold]" if report.remedy else ""
    what = "int8 model: " if report.state == "works" else ""
    out.print(f"[bold]{report.engine}[/bold]: {what}{escape(report.said)}{remedy}", soft_wrap=True)
    for key, value in report.facts.items():
        out.print(f"    [dim]{_FACTS.get(key, key)}: {escape(value)}[/dim]", soft_wrap=True)
