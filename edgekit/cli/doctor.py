"""`edgekit doctor`: which engines work on this machine, as a table and sentences, or as JSON."""

from __future__ import annotations

import time

from rich import box
from rich.markup import escape
from rich.table import Table

from edgekit.edge_runtime.decode import to_plain
from edgekit.edge_runtime.doctor.diagnosis import Diagnosis, EngineReport, Machine, diagnose
from edgekit.edge_runtime.format import bytes_text, count_text

from .json_answer import print_json
from .narrow import print_table
from .terminal import err, out

_STYLES = {"works": "green", "broken": "bold red", "not installed": "dim", "not tried": "yellow"}
_FACTS = {"runtime": "runtime", "shim": "compiled C++ shim", "compiler": "C++ compiler"}


def doctor(*, deep: bool, build: bool, as_json: bool) -> bool:
    """Tries every engine and prints the outcome; returns whether every installed engine works.

    Args:
        deep: also try engines that compile a model first.
        build: first compile ExecuTorch's C++ shim.
    Raises:
        MissingDependency, EngineError: the shim cannot be compiled, and why.
    """
    if build:
        _build()
    if not as_json:
        err.print("[dim]Running a tiny int8 model on each engine, each in a process of its own …[/dim]")
    diagnosis = diagnose(deep=deep)
    if as_json:
        print_json(to_plain(diagnosis) | {"healthy": diagnosis.healthy})
        return diagnosis.healthy
    _print_machine(diagnosis.machine)
    print_table(_table(diagnosis), out)
    for report in diagnosis.engines:
        _print_details(report)
    broken = [report.engine for report in diagnosis.engines if report.state == "broken"]
    out.print(f"[bold red]Broken: {', '.join(broken)}.[/bold red]" if broken else "Every installed engine works.")
    return diagnosis.healthy


def _build() -> None:
    from edgekit.edge_runtime.engines.executorch_build import build

    start = time.monotonic()
    path = build()
    err.print(f"ExecuTorch's C++ shim is {escape(str(path))} ({time.monotonic() - start:.1f} s)", soft_wrap=True)


def _print_machine(machine: Machine) -> None:
    int8 = ", ".join(machine.int8_isa) or "no instructions for it, so int8 makes models smaller here, but hardly faster"
    lines = {
        "processor": f"{machine.cpu}, {count_text(machine.cores, 'core')}",
        "memory": bytes_text(machine.memory_bytes),
        "int8": int8,
        "vectors": ", ".join(machine.vector_isa) or "unknown: the system does not list them",
        "system": f"{machine.system}, Python {machine.python}",
    }
    for key, value in lines.items():
        out.print(f"[bold]{key:>10}[/bold]  {escape(value)}", soft_wrap=True)


def _table(diagnosis: Diagnosis) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for column in ("engine", "state", "version", "provides", "time"):
        table.add_column(column, overflow="fold", justify="right" if column == "time" else "left")
    for report in diagnosis.engines:
        table.add_row(
            report.engine,
            f"[{_STYLES[report.state]}]{report.state}[/]",
            escape(report.version),
            escape(", ".join(report.provides)),
            f"{report.seconds:.1f} s" if report.seconds else "",
        )
    return table


def _print_details(report: EngineReport) -> None:
    """What does not fit into the table: the model's result, where things are, what to do."""
    remedy = f" [bold]→ {escape(report.remedy)}[/bold]" if report.remedy else ""
    what = "int8 model: " if report.state == "works" else ""
    out.print(f"[bold]{report.engine}[/bold]: {what}{escape(report.result)}{remedy}", soft_wrap=True)
    for key, value in report.facts.items():
        out.print(f"    [dim]{_FACTS.get(key, key)}: {escape(value)}[/dim]", soft_wrap=True)
