"""`edgekit doctor MODEL` on the terminal: what was found of each engine, as tables and plain sentences, or as JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from rich import box
from rich.markup import escape
from rich.table import Table

from edgekit.edge_runtime.decode import to_plain
from edgekit.optimize.preflight.check import preflight
from edgekit.optimize.preflight.places import EngineFindings, Finding, Layer

from .json_answer import print_json
from .narrow import print_table
from .terminal import err, out

_STYLES = {"missing": "bold red", "fallback": "yellow", "delegated": "green"}
_INSIDE = {"onnx": "run by onnxruntime's CPU kernels", "executorch_xnnpack": "delegated to XNNPACK"}


def doctor_model(what: str, *, sample_shapes: Sequence[str] = (), as_json: bool) -> bool:
    """Takes a model through every engine and prints what was found; returns whether all of them run it.

    Raises:
        UsageError, MissingData: `what` is no model, or its own code failed.
    """
    found = preflight(what, shapes=sample_shapes, on_step=lambda name: err.print(f"[dim]{name} …[/dim]"))
    if as_json:
        print_json(to_plain(found) | {"runs_everywhere": found.runs_everywhere})
        return found.runs_everywhere
    out.print(f"[bold]{escape(found.model)}[/bold], with its initial weights")
    for note in found.notes:
        out.print(f"  [dim]{escape(note)}[/dim]", soft_wrap=True)
    for engine in found.engines:
        _print_engine(engine)
    broken = [one.engine for one in found.engines if not one.runs]
    in_float = [one.engine for one in found.engines if one.runs and one.int8_error]
    last = f"[bold red]Cannot run it: {', '.join(broken)}.[/bold red]" if broken else "Every engine runs it."
    if in_float:
        last = last.removesuffix(".") + f"[bold yellow]; not in 8 bits: {', '.join(in_float)}.[/bold yellow]"
    out.print(f"\n{last}", soft_wrap=True)
    if broken and found.runs_everywhere:
        out.print("One way to TorchScript is enough: the other one makes a file of the same engine.", soft_wrap=True)
    return found.runs_everywhere


def _print_engine(found: EngineFindings) -> None:
    state = "[green]runs it[/green]" if found.runs else "[bold red]cannot run it[/bold red]"
    if found.runs and found.int8_error:
        state = "[yellow]runs it in float, not in 8 bits[/yellow]"
    out.print(f"\n[bold]{found.engine}[/bold]: {state}")
    if found.error:
        out.print(f"  {escape(found.error)}", soft_wrap=True)
    inside = [one for one in found.findings if one.placing == "delegated"]
    if inside:
        counts = _counts((one.operator, one.count) for one in inside)
        total = sum(one.count for one in found.findings)
        words = _INSIDE.get(found.engine, "delegated")
        out.print(f"  {sum(one.count for one in inside)} of {total} operators {words}: {counts}", soft_wrap=True)
    plain = [one for one in found.findings if one.placing == "fallback" and not one.remedy]
    if plain:
        counts = _counts((one.operator, one.count) for one in plain)
        out.print(f"  {sum(one.count for one in plain)} operators run on portable kernels: {counts}", soft_wrap=True)
    if listed := [one for one in found.findings if one.placing == "missing" or one.remedy]:
        print_table(_table(listed), out)
    if found.rewrites:
        out.print(f"  Rewritten by edgekit itself: {escape(found.rewrites)}", soft_wrap=True)
        left = _counts((one.operator, one.count) for one in found.remaining)
        out.print(f"  Outside the delegate after that: {left or 'nothing'}", soft_wrap=True)
    if found.int8_error:
        out.print(f"  int8: not possible. {escape(found.int8_error)}", soft_wrap=True)
    if found.layers:
        _print_layers(found.layers)


def _print_layers(layers: Sequence[Layer]) -> None:
    taken = [(one.operator, one.count) for one in layers if one.int8]
    out.print(f"  int8: {_counts(taken) or 'nothing'}", soft_wrap=True)
    kept = [one for one in layers if not one.int8]
    if kept:
        places = "; ".join(f"{one.operator} x{one.count} ({_place(one.where.module, one.where.line)})" for one in kept)
        out.print(f"  stays float, the quantizer has no pattern for it: {escape(places)}", soft_wrap=True)


def _table(found: Sequence[Finding]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for column in ("operator", "", "times", "module", "line", "what helps"):
        table.add_column(
            column, overflow="fold", no_wrap=column == "operator", justify="right" if column == "times" else "left"
        )
    for one in found:
        table.add_row(
            escape(one.operator),
            f"[{_STYLES[one.placing]}]{one.placing}[/]",
            str(one.count),
            escape(one.where.module),
            escape(one.where.line),
            escape(one.remedy),
        )
    return table


def _counts(found: Iterable[tuple[str, int]]) -> str:
    counts: Counter[str] = Counter()
    for name, count in found:
        counts[name.rpartition(".")[2]] += count
    return ", ".join(f"{name} x{count}" for name, count in counts.most_common())


def _place(module: str, line: str) -> str:
    return ", ".join(part for part in (module, line) if part) or "place not known"
