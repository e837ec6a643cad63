"""The verbs that measure: benchmark, compare, doctor."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgekit.edge_runtime.errors import UsageError

from ..options import USE, Allow, BundlePaths, Json, Key, Quick, Signed, app, finish, policy_of


@app.command(rich_help_panel=USE)
def benchmark(
    bundles: BundlePaths,
    threads: Annotated[str, typer.Option(help="CPU threads for each inference; several to compare, like 1,2,4.")] = "1",
    scaling: Annotated[bool, typer.Option("--scaling", help="The same as --threads 1,2,4, … up to all cores.")] = False,
    batch: Annotated[str, typer.Option(help="Samples in one run, where the bundle leaves that free; like 1,8.")] = "1",
    details: Annotated[bool, typer.Option("--details", help="All columns, every pair, what was not checked.")] = False,
    out: Annotated[Path | None, typer.Option(help="Keep rows and raw samples in this .json (and .npz).")] = None,
    quick: Quick = False,
    scenario: Annotated[
        str | None,
        typer.Option(help="MLPerf's LoadGen: SingleStream, MultiStream, Offline or Server; --out is then a folder."),
    ] = None,
    duration_s: Annotated[float | None, typer.Option(help="With --scenario: at least so long. Default: 10.")] = None,
    qps: Annotated[float | None, typer.Option(help="With --scenario Server: queries a second.")] = None,
    latency_ms: Annotated[
        float | None, typer.Option(help="With --scenario Server: the bound that 99 % of the answers must keep.")
    ] = None,
    profile: Annotated[
        bool, typer.Option("--profile", help="Time by operator, arithmetic, roofline; --out is then a folder.")
    ] = False,
    key: Key = None,
    require_signature: Signed = False,
    allow: Allow = None,
    as_json: Json = False,
) -> None:
    """Measure bundles against each other, interleaved; the first float one is what ratios refer to."""
    from edgekit.edge_runtime.benchmark.scaling import Sweep

    if scenario is not None and profile:
        raise UsageError("--scenario and --profile measure in different ways: choose one")
    if scenario is None and (duration_s, qps, latency_ms) != (None, None, None):
        raise UsageError("--duration-s, --qps and --latency-ms belong to --scenario: add one, or leave them out")
    policy = policy_of(allow, key=key, require_signature=require_signature)
    sweep = Sweep.asked(threads=threads, scaling=scaling, batch=batch)
    if scenario is not None:
        from edgekit.cli.measure import loadgen

        loadgen(
            bundles,
            scenario,
            duration_s=10.0 if duration_s is None else duration_s,
            qps=qps,
            latency_ms=latency_ms,
            logs=out,
            as_json=as_json,
            sweep=sweep,
            policy=policy,
        )
        return
    if profile:
        from edgekit.cli.measure import profile as run_profile

        run_profile(bundles, quick=quick, save_to=out, as_json=as_json, sweep=sweep, policy=policy)
        return
    from edgekit.cli.benchmark import Printing
    from edgekit.cli.benchmark import benchmark as run

    printing = Printing(details=details, as_json=as_json, save_to=out)
    run(bundles, quick=quick, sweep=sweep, printing=printing, policy=policy)


@app.command(rich_help_panel=USE)
def compare(
    before: Annotated[Path, typer.Argument(help="The older results.json.")],
    after: Annotated[Path, typer.Argument(help="The newer one.")],
    max_slower: Annotated[float, typer.Option(min=0, help="Latency that may be added, relative.")] = 0.05,
    max_larger: Annotated[float, typer.Option(min=0, help="File size that may be added.")] = 0.01,
    max_more_memory: Annotated[float, typer.Option(min=0, help="Memory that may be added.")] = 0.10,
    max_slower_start: Annotated[float, typer.Option(min=0, help="Cold start that may be added.")] = 0.25,
    max_drop: Annotated[float, typer.Option(min=0, help="Accuracy that may be lost.")] = 0.01,
    as_json: Json = False,
) -> None:
    """Say what became slower, larger or less accurate beyond noise, and which answers flipped. Exits with 1 if so."""
    from edgekit.cli.benchmark import compare_files
    from edgekit.edge_runtime.benchmark.judgement import Limits

    limits = Limits(
        max_slower=max_slower,
        max_larger=max_larger,
        max_more_memory=max_more_memory,
        max_slower_start=max_slower_start,
        max_drop=max_drop,
    )
    finish(compare_files(before, after, limits=limits, as_json=as_json))


@app.command(rich_help_panel=USE)
def doctor(
    model: Annotated[
        str | None,
        typer.Argument(help="Look at this model instead, before it is trained; given like to `edgekit optimize`."),
    ] = None,
    sample_shape: Annotated[
        list[str] | None,
        typer.Option(help="With a model: like 1,3,224,224, or tokens=1,16:int64; again for each further input."),
    ] = None,
    deep: Annotated[bool, typer.Option("--deep", help="Also try engines that compile their model first.")] = False,
    build: Annotated[
        bool, typer.Option("--build", help="Compile ExecuTorch's C++ shim now, or say why it cannot be.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Say which engines are installed and work here: each runs a tiny int8 model in a process of its own.

    With a MODEL: say what each engine does with its operators, in float and in 8 bits. Its weights are random ones.
    """
    if model is None and sample_shape:
        raise UsageError("--sample-shape belongs to a model: edgekit doctor MODEL --sample-shape 1,3,224,224")
    if model is not None:
        if deep or build:
            raise UsageError("--deep and --build look at this machine's engines: leave them out, or the model")
        from edgekit.cli.preflight import doctor_model

        finish(doctor_model(model, sample_shapes=sample_shape or (), as_json=as_json))
        return
    from edgekit.cli.doctor import doctor as run

    finish(run(deep=deep, build=build, as_json=as_json))
