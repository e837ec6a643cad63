"""The verbs for finished bundles: verify, sign, pack, predict. Each prints its answer, or gives it as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

from edgekit.edge_runtime.bundle import versions
from edgekit.edge_runtime.bundle.attestation import SUFFIX
from edgekit.edge_runtime.bundle.bundle import Bundle, find_bundles
from edgekit.edge_runtime.bundle.manifest import Manifest, OutputSpec, TensorSpec
from edgekit.edge_runtime.bundle.status import why_of
from edgekit.edge_runtime.choice import engines_for
from edgekit.edge_runtime.command_line import EDGEKIT, command_line
from edgekit.edge_runtime.errors import EdgekitError, RunsCode, UsageError
from edgekit.edge_runtime.files import check_output
from edgekit.edge_runtime.format import bytes_text, db_text, percent_text
from edgekit.edge_runtime.worker.attest import attestation_of, write_attestation
from edgekit.edge_runtime.worker.policy import NO_CODE, Policy
from edgekit.edge_runtime.worker.replay import OutputReplay, ReplayResult, replay_opened

from .json_answer import print_json
from .terminal import err, escape, out, stamp_markup


def verify(
    paths: Sequence[Path],
    *,
    engine: str | None = None,
    as_json: bool,
    policy: Policy = NO_CODE,
    attest: bool = False,
    strict: bool = False,
) -> bool:
    """Replays each bundle's golden inputs in a child process and prints how close the answers are.

    A bundle that fails does not stop the others. Returns whether all passed; with `strict`, whether all are verified.

    Args:
        engine: which engines replay them, as in `choice.engines_for`.
        attest: also write each result beside its bundle, as an attestation.
    """
    outcomes: list[ReplayResult | EdgekitError] = []
    for path in expand_folders(paths):
        try:
            with policy.open(path) as bundle:
                for name in [None] if engine is None else engines_for(bundle, engine, allow=policy.allow):
                    outcome, written = _verified(path, bundle, name, policy, attest)
                    outcomes.append(outcome)
                    if not as_json:
                        print_outcome(path, outcome)
                    if written:
                        err.print(f"Attestation: {escape(str(written))}", soft_wrap=True)
        except EdgekitError as error:
            outcomes.append(error)
            if not as_json:
                print_outcome(path, error)
    if as_json:
        print_json(
            [{"error": str(one), "passed": False} if isinstance(one, EdgekitError) else asdict(one) for one in outcomes]
        )
    return all(
        isinstance(one, ReplayResult) and one.passed and (not strict or one.status == "verified") for one in outcomes
    )


def _verified(
    path: Path, bundle: Bundle, engine: str | None, policy: Policy, attest: bool
) -> tuple[ReplayResult | EdgekitError, Path | None]:
    """The replay, or why there is none, and the attestation that was written."""
    try:
        result = replay_opened(bundle, engine=engine, policy=policy)
        return result, write_attestation(path, bundle, attestation_of(bundle, result)) if attest else None
    except EdgekitError as error:
        return error, None


def sign(path: Path, key: Path) -> None:
    """Signs a bundle with a private key, once its checksums were verified, or an attestation beside one."""
    from edgekit.edge_runtime.bundle import signature

    if path.name.endswith(SUFFIX):
        written = signature.sign_attestation(path, key)
        out.print(f"Signed: {escape(str(written))}. Next: {EDGEKIT} inspect BUNDLE --key PUBLIC.pem", soft_wrap=True)
        return
    with Bundle.open(path) as bundle:
        warn_unverified(bundle.manifest)
    written, after = signature.sign(path, key), command_line("verify", path, "--key", "PUBLIC.pem")
    out.print(f"Signed: {escape(str(written))}. Next: {escape(after)}", soft_wrap=True)


def pack(path: Path, target: Path | None) -> Path:
    """Packs a bundle folder into one `.zip`, always with the same bytes, and opens it as a device would."""
    with Bundle.open(path) as bundle:
        warn_unverified(bundle.manifest)
        if target is None and not path.is_dir():
            raise UsageError(f"{path} is already a .zip. To copy it, name the new file with --out")
        named = path if path.name not in ("", "..") else path.resolve()  # "." is a bundle too, and has a name
        zipped = target or named.with_name(f"{named.name}.zip")
        check_output(zipped, [path])
        bundle.save_zip(zipped)
    Bundle.open(zipped).close()
    size, after = bytes_text(zipped.stat().st_size), command_line("verify", zipped)
    out.print(f"{escape(str(zipped))} ({size}). Next: {escape(after)}", soft_wrap=True)
    return zipped


def warn_unverified(manifest: Manifest) -> None:
    """Warns of a bundle of which something was not proven; every verb that opens one does."""
    if stamp := stamp_markup(manifest.status):
        err.print(f"{stamp} {manifest.name}: {escape(why_of(manifest.status))}", soft_wrap=True)


def warn(bundle: Bundle, engine: str | None = None) -> None:
    """Warns of what a user should know before a bundle runs: that it is unverified, or was proven on another version of
    the engine, the usual one of its format without a name.
    """
    warn_unverified(bundle.manifest)
    programs = [program.name for program in bundle.manifest.programs]
    notes = [
        note
        for name in programs
        for note in versions.check(bundle.manifest.only(name), bundle.path_of(name), engine or "")
    ]
    for note in dict.fromkeys(notes):
        err.print(f"[yellow]note:[/yellow] {escape(note)}", soft_wrap=True)


def tensors_text(specs: Sequence[TensorSpec]) -> str:
    """Inputs or outputs of a program, in one line."""
    return "; ".join(
        f"{spec.name} {spec.dtype} {spec.shape_text}" + (f" ({spec.holds})" if isinstance(spec, OutputSpec) else "")
        for spec in specs
    )


def expand_folders(paths: Sequence[Path]) -> list[Path]:
    """The bundles among `paths`; a folder of bundles stands for all of them."""
    bundles = []
    for path in paths:
        # A folder without bundles is taken for a bundle without a manifest, and refused as one.
        bundles += (find_bundles(path) if path.is_dir() else []) or [path]
    return bundles


def open_all(paths: Sequence[Path], policy: Policy, opened: ExitStack) -> list[Bundle]:
    """Opens the bundles among `paths`, and warns of what is not proven of one.

    In a folder of bundles, those that would run code are left out with a note, since nobody asked for them by name.
    Raises as `Policy.open`, and BundleError if none is left.
    """
    bundles, left_out = [], []
    for path in expand_folders(paths):
        try:
            bundles.append(opened.enter_context(policy.open(path)))
        except RunsCode as error:
            if path in paths:
                raise
            left_out.append(error)
    if not bundles and left_out:
        raise left_out[0]
    for bundle in bundles:
        warn_unverified(bundle.manifest)
    for reason in left_out:
        err.print(f"[yellow]not loaded[/yellow] {escape(str(reason))}", soft_wrap=True)
    return bundles


def print_outcome(path: Path, outcome: ReplayResult | EdgekitError) -> None:
    if isinstance(outcome, EdgekitError):
        text = str(outcome) if str(outcome).startswith(str(path)) else f"{path}: {outcome}"
        mark = "[yellow]not loaded[/yellow]" if isinstance(outcome, RunsCode) else _mark(False)
        out.print(f"{mark} {escape(text)}", soft_wrap=True)
        return
    mark = _mark(outcome.passed)
    stamp = f" {stamp_markup(outcome.status)}" if stamp_markup(outcome.status) else ""
    stamp += {
        "good": " [green](signature is good)[/green]",
        "not checked": " (signed; give --key to check the signature)",
    }.get(outcome.signature, "")
    batched = ""
    if outcome.batch > 1:
        batched = f"; in batches of {outcome.batch} against single samples: SQNR {db_text(outcome.batch_sqnr_db)}"
    change = outcome.max_abs_since_packed
    since = "not run when it was packed" if change is None else f"max |Δ| since packing {change:.2g}"
    out.print(
        f"{mark} {outcome.name}{stamp}: SQNR {db_text(outcome.sqnr_db)}, max |Δ| {outcome.max_abs:.2g}, agrees on "
        f"{percent_text(outcome.agreement)} of {outcome.samples} real samples [dim](required: {outcome.held_to}; "
        f"{outcome.engine}; {since}{batched})[/dim]",
        soft_wrap=True,
    )
    several = len({output.program for output in outcome.outputs}) > 1
    for output in outcome.outputs if len(outcome.outputs) > 1 else ():
        out.print(f"    {_output_line(output, several=several)}", soft_wrap=True)
    for note in outcome.notes:
        out.print(f"    [yellow]{escape(note)}[/yellow]", soft_wrap=True)
    if not outcome.passed:
        advice = "shows whether the engine works on this machine"
        out.print(f"    Next: {escape(command_line('doctor'))} {advice}", soft_wrap=True)


def _output_line(output: OutputReplay, *, several: bool) -> str:
    name = f"{output.program} {output.output}" if several else output.output
    return (
        f"{_mark(output.passed)} {escape(name)}: SQNR {db_text(output.sqnr_db)}, max |Δ| {output.max_abs:.2g}, agrees "
        f"on {percent_text(output.agreement)} [dim](required: {output.held_to})[/dim]"
    )


def _mark(passed: bool) -> str:
    return "[green]✓[/green]" if passed else "[red]✗[/red]"
