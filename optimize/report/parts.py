"""The written parts of the report: the table, the verified chain, notes, glossary, commands. Every string is escaped.

Parts know rows and stages. They know nothing about plots, or about the page's looks, which its CSS decides.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from html import escape

from edgekit.edge_runtime.benchmark.measurement import Measurement
from edgekit.edge_runtime.benchmark.rows import Row
from edgekit.edge_runtime.benchmark.table import cells, columns, is_stamped, present, shared_reasons
from edgekit.edge_runtime.benchmark.validity import unchecked
from edgekit.edge_runtime.bundle.manifest import StageResult
from edgekit.edge_runtime.command_line import EDGEKIT
from edgekit.edge_runtime.format import db_text, percent_text

GLOSSARY = {
    "model file": "The bundle: exporter, then recipe. w8a8 means 8-bit weights and 8-bit activations.",
    "accuracy [95 %]": "The artifact's own accuracy on the validation split, with its 95 % interval.",
    "n": "The number of validation samples behind the accuracy.",
    "agrees": "The share of those samples where the artifact gives the float model's answer, right or wrong.",
    "size": "Size of the model file alone. 1 kB is 1,000 bytes.",
    "cold start": "From the start of a fresh process to its first answer: interpreter, engine, checks and model.",
    "load": "From the file on disk to ready for the first inference, once, in a fresh process.",
    "p50": "Half of all inferences took no longer than this, one sample at a time.",
    "p90 of inputs": "Nine of ten different inputs took no longer, each by its own median.",
    "p90": "Nine of ten inferences took no longer than this.",
    "p99": "All but one inference in a hundred took no longer than this.",
    "per second": "Inferences in one second, one after another.",
    "peak RSS": "The most memory that the process ever held, engine and interpreter included.",
    "RSS added": "That peak, less the memory of a process that has loaded no engine.",
    "size ratio": "The file's size against the baseline's.",
    "speed ratio [95 %]": "The speed against the baseline's, measured in turns, with its bootstrap interval.",
    "valid": "Whether the figures may be quoted: measured long enough, on a steady machine, with the CPU to itself.",
}
STAGES = {
    "capture": "the module becomes a graph (exported, traced or scripted)",
    "rewrite": "an exact rewrite makes the graph deployable",
    "quantize": "weights, and with w8a8 also activations, become 8-bit integers",
    "lower": "the graph is lowered to the engine and written to a file",
    "reload": "the finished file runs in a fresh process, against the float model's recorded answers",
}
NO_BREAK = "95\N{NO-BREAK SPACE}%"


def table(measured: Measurement, color: dict[str, str], best: str) -> str:
    """The columns and cells of `edgekit.edge_runtime.benchmark.table`, with advice below rows that are not valid.

    Args:
        color: a CSS colour by exporter.
        best: the name of the row to highlight.
    """
    names = present(measured.rows)
    heads = zip(names, columns(measured.rows), strict=True)
    head = "".join(
        f'<th scope="col" title="{escape(GLOSSARY[name])}">{escape(shown.replace("95 %", NO_BREAK))}</th>'
        for name, shown in heads
    )
    body = "".join(_table_row(row, names, measured, color, best) for row in measured.rows)
    if shared := shared_reasons(measured.rows):
        body += "".join(_advice(f"no row is valid: {reason}", len(names)) for reason in shared)
    return f'<div class="scroll table"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _table_row(row: Row, names: Sequence[str], measured: Measurement, color: dict[str, str], best: str) -> str:
    name, *rest = cells(row, names, model=measured.model)
    kinds = {
        "best": row.name == best,
        "baseline": row.name == measured.baseline,
        "failed": bool(row.error),
        "unverified": is_stamped(row),
        "invalid": bool(row.invalid_because),
    }
    kind = " ".join(kind for kind, is_so in kinds.items() if is_so)
    line = f'<tr class="{kind}"><th scope="row">{_mark(color.get(row.exporter))}{escape(name)}</th>'
    if row.error:
        return f'{line}<td class="reason" colspan="{len(rest)}">{escape(rest[0])}</td></tr>'
    line += "".join(f"<td>{_soften(cell)}</td>" for cell in rest) + "</tr>"
    shared = shared_reasons(measured.rows)
    own = (reason for reason in row.invalid_because if reason not in shared)
    return line + "".join(_advice(f"not valid: {reason}", len(names)) for reason in own)


def _advice(text: str, width: int) -> str:
    return f'<tr class="advice"><td colspan="{width}"><span>{escape(text)}</span></td></tr>'


def _mark(color: str | None) -> str:
    return f'<i class="mark" style="--mark: {color or "var(--muted)"}"></i>'


def _soften(cell: str) -> str:
    """A figure, with its interval in small print."""
    figure, bracket, interval = cell.partition(" [")
    return f"{escape(figure)} <small>[{escape(interval)}</small>" if bracket else escape(cell)


def legend(color: dict[str, str], polygon: dict[str, str], *, others: bool) -> str:
    """What colours and shapes stand for.

    Args:
        color: a CSS colour by exporter.
        polygon: a CSS polygon by recipe.
        others: whether something that is not a bundle is shown as well.
    """
    items = "".join(f"<span>{_mark(css)}{escape(name)}</span>" for name, css in color.items())
    items += f"<span>{_mark(None)}not a bundle</span>" if others else ""
    items += '<span class="row"></span>' + "".join(
        f'<span><i class="shape" style="clip-path: {shape}"></i>{escape(recipe)}</span>'
        for recipe, shape in polygon.items()
    )
    return items + '<span><i class="dot full"></i>quantized</span><span><i class="dot"></i>float</span>'


def chain(stages: dict[str, tuple[StageResult, ...]], names: dict[str, str]) -> str:
    """A strip for each bundle: its stages in order, darker where the answers are closer, red where one failed."""
    longest = max((len(results) for results in stages.values()), default=0)
    lines = []
    for name, results in stages.items():
        strip = "".join(_stage(result) for result in results) + "<td></td>" * (longest - len(results))
        lines.append(f'<tr><th scope="row">{escape(names.get(name, name))}</th>{strip}</tr>')
    return _scroll("chain", lines)


def _stage(result: StageResult) -> str:
    strength = max(0.0, min(result.sqnr_db, 160.0)) / 160
    clauses = escape(result.held_to.replace(">=", "≥").replace("<=", "≤")).split(", ")
    held_to = ", ".join(f"<span>{clause}</span>" for clause in clauses)  # a line breaks between them, not within
    return (
        f'<td class="stage {"passed" if result.passed else "missed"}" style="--strength: {0.06 + 0.34 * strength:.2f}">'
        f"<b>{'✓' if result.passed else '✗'} {escape(result.stage)}</b>"
        f"<strong>{db_text(result.sqnr_db)}</strong>"
        f"<small>against {escape(result.compared_with)}: {escape(percent_text(result.agreement))} agree</small>"
        f"<small>required: {held_to}</small></td>"
    )


def operators(notes: dict[str, dict[str, str]], names: dict[str, str]) -> str:
    """The operators that an ExecuTorch delegate runs and those outside it; or the operators of an ONNX file."""
    lines = []
    for name, note in notes.items():
        listed = note.get("outside_delegate", note.get("onnx_operators", ""))
        if not listed and "delegated_operators" not in note:
            continue
        chips = "".join(f"<code>{escape(operator)}</code> " for operator in listed.split(", ") if operator)
        delegated = note.get("delegated_operators")
        kind = f"{escape(delegated)} operators delegated; outside:" if delegated else "operators in the file:"
        lines.append(
            f'<tr><th scope="row">{escape(names.get(name, name))}</th>'
            f'<td class="kind">{kind}</td><td class="chips">{chips or "none"}</td></tr>'
        )
    return _scroll("operators", lines)


def facts(measured: Measurement) -> str:
    """Where, when and how it was measured, as a list of terms."""
    machine, settings = measured.machine, measured.settings
    samples = sorted({row.samples for row in measured.rows if row.samples})
    counted = " to ".join(f"{n:,}" for n in dict.fromkeys((*samples[:1], *samples[-1:])))
    facts = {
        "Processor": ", ".join(text for text in (machine.get("cpu"), machine.get("isa")) if text),
        "System": f"{machine.get('system', '?')}, {machine.get('cores', '?')} cores, "
        f"Python {machine.get('python', '?')}",
        "Measured": measured.measured_at.replace("T", " ").replace("+00:00", " UTC"),
        "Threads": str(settings.num_threads),
        "Rounds": f"{settings.rounds} of {settings.round_ms} ms, candidates in turns, each in its own process",
        "Inferences": f"{counted} of each candidate, every one kept" if counted else "none",
        "Baseline": measured.baseline,
        "Engines": ", ".join(dict.fromkeys(row.engine for row in measured.rows if row.engine)),
    }
    if measured.state is not None and (hidden := unchecked(measured.state)):
        facts["Not checked"] = f"{', '.join(hidden)}, because this machine does not show it"
    for key, term in (("data", "Data"), ("weights_sha256", "Weights, SHA-256")):
        facts[term] = "; ".join(dict.fromkeys(note[key] for note in measured.notes.values() if key in note))
    return definitions({term: text for term, text in facts.items() if text})


def definitions(terms: dict[str, str]) -> str:
    """A list of terms and what they mean."""
    return "<dl>" + "".join(f"<dt>{escape(t)}</dt><dd>{escape(d)}</dd>" for t, d in terms.items()) + "</dl>"


def commands(measured: Measurement, best: Row | None) -> str:
    """What to type next, from looking at the result to shipping it."""
    lines: list[tuple[str, str]] = []
    folder = shlex.quote(measured.bundles)
    if best is not None:
        bundle = shlex.quote(f"{measured.bundles}/{best.name}")
        lines = [
            (
                f"{EDGEKIT} demo --bundles {folder}",
                "compare float and quantized side by side, in a browser",
            ),
            (f"{EDGEKIT} verify {bundle}", "check every file, and run the golden inputs"),
            (f"{EDGEKIT} predict {bundle} PICTURE", "run it on a picture of your own"),
            (f"{EDGEKIT} pack {bundle}", "make one .zip for the device"),
        ]
    again = f"{EDGEKIT} optimize {shlex.quote(measured.model)}"
    if any(row.error for row in measured.rows):
        row = next(row for row in measured.rows if row.error)
        only = f" --exporter {shlex.quote(row.exporter)} --recipe {shlex.quote(row.recipe)}" if row.exporter else ""
        lines.append((f"{again}{only} --allow-unverified", "keep what failed, stamped UNVERIFIED, to look at it"))
    if any(row.invalid_because for row in measured.rows):
        lines.append(
            (
                f"{EDGEKIT} benchmark {folder} --out results.json",
                "measure again on a quiet machine",
            )
        )
    lines = lines or [(again, "make bundles of this model")]
    return "<dl>" + "".join(f"<dt><code>{escape(c)}</code></dt><dd>{escape(d)}</dd>" for c, d in lines) + "</dl>"


def paragraphs(texts: Sequence[str], kind: str) -> str:
    """A paragraph for each text, with the CSS class `kind`."""
    return "".join(f'<p class="{kind}">{escape(text)}</p>' for text in texts)


def finding(text: str, details: Sequence[str]) -> str:
    """A sentence that must not be missed, and its details."""
    items = "".join(f"<li>{escape(detail)}</li>" for detail in details)
    return f'<div class="finding"><b>{escape(text)}</b>{f"<ul>{items}</ul>" if items else ""}</div>'


def _scroll(kind: str, lines: Sequence[str]) -> str:
    """A table without a head, in a card that scrolls sideways if it must."""
    return f'<div class="scroll {kind}"><table><tbody>{"".join(lines)}</tbody></table></div>' if lines else ""
