"""The verbs that measure: benchmark, compare, doctor."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgekit.edge_runtime.command_line import EDGEKIT
from edgekit.edge_runtime.errors import UsageError

from ..options import USE, Allow, BundlePaths, EngineName, Json, Key, On, Quick, Signed, app, finish, policy_of


@app.command(rich_help_panel=USE)
def benchmark(
    bundles: BundlePaths,
    threads: Annotated[str, typer.Option(help="CPU threads for each inference. Several are compared: 1,2,4.")] = "1",
    scaling: Annotated[bool, typer.Option("--scaling", help="Same as --threads 1,2,4,… up to all cores.")] = False,
    batch: Annotated[str, typer.Option(help="Samples in one run, for bundles with a free batch: 1,8.")] = "1",
    engine: EngineName = None,
    spin: Annotated[
        bool,
        typer.Option("--spin", help="Let several threads wait for the next run at full speed: busy cores in between."),
    ] = False,
    details: Annotated[
        bool, typer.Option("--details", help="Print all columns, every pair, and what could not be checked.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option(help="Write the rows to this .json, and the raw samples to an .npz beside it.")
    ] = None,
    quick: Quick = False,
    scenario: Annotated[
        str | None,
        typer.Option(
            help="Run under MLPerf's LoadGen: SingleStream, MultiStream, Offline or Server. --out is then a folder."
        ),
    ] = None,
    duration_s: Annotated[
        float | None, typer.Option(help="With --scenario: how many seconds to run, at least. Default: 10.")
    ] = None,
    qps: Annotated[float | None, typer.Option(help="With --scenario Server: queries per second.")] = None,
    latency_ms: Annotated[
        float | None, typer.Option(help="With --scenario Server: how long 99 % of the answers may take.")
    ] = None,
    profile: Annotated[
        bool,
        typer.Option(
            "--profile", help="Measure the time of each operator, against the machine's peaks. --out is then a folder."
        ),
    ] = False,
    on: On = None,
    key: Key = None,
    require_signature: Signed = False,
    allow: Allow = None,
    as_json: Json = False,
) -> None:
    """Measure bundles against each other, in turns. Ratios refer to the first fp32 bundle.

    `--engine onnxruntime,openvino` measures every bundle with each, `--engine all` with all that are installed.
    """
    from edgekit.edge_runtime.benchmark.scaling import Sweep

    if scenario is not None and profile:
        raise UsageError("--scenario and --profile measure in different ways: give only one of them")
    if scenario is None and (duration_s, qps, latency_ms) != (None, None, None):
        raise UsageError("--duration-s, --qps and --latency-ms belong to --scenario: add --scenario, or leave them out")
    if spin and (scenario is not None or profile):
        raise UsageError("--spin belongs to the plain measurement: leave it out with --scenario or --profile")
    if profile and engine is not None:
        raise UsageError("--profile takes the usual engine of each format: leave out --engine")
    policy = policy_of(allow, key=key, require_signature=require_signature)
    sweep = Sweep.asked(threads=threads, scaling=scaling, batch=batch)
    if on is not None:
        from edgekit.cli.benchmark import Printing
        from edgekit.cli.remote import benchmark as run_there

        if (
            scenario is not None
            or profile
            or spin
            or engine is not None
            or sweep.batches != (1,)
            or len(sweep.threads) > 1
        ):
            raise UsageError("--on takes --threads N, --quick, --details, --out and --json: leave out the others")
        printing = Printing(details=details, as_json=as_json, save_to=out)
        run_there(bundles, on, quick=quick, threads=sweep.threads[0], printing=printing, policy=policy)
        return
    if scenario is not None:
        from edgekit.cli.measure import loadgen

        loadgen(
            bundles,
            scenario,
            duration_s=10.0 if duration_s is None else duration_s,
            qps=qps,
            latency_ms=latency_ms,
            logs=out,
            engine=engine,
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
    run(bundles, quick=quick, engine=engine, spin=spin, sweep=sweep, printing=printing, policy=policy)


@app.command(rich_help_panel=USE)
def compare(
    before: Annotated[Path, typer.Argument(help="The older results.json.")],
    after: Annotated[Path, typer.Argument(help="The newer one.")],
    max_slower: Annotated[float, typer.Option(min=0, help="How much slower a bundle may get: 0.05 is 5 %.")] = 0.05,
    max_larger: Annotated[float, typer.Option(min=0, help="How much larger its file may get.")] = 0.01,
    max_more_memory: Annotated[float, typer.Option(min=0, help="How much more memory it may take.")] = 0.10,
    max_slower_start: Annotated[float, typer.Option(min=0, help="How much slower it may start.")] = 0.25,
    max_drop: Annotated[float, typer.Option(min=0, help="How much of its accuracy it may lose.")] = 0.01,
    as_json: Json = False,
) -> None:
    """Compare two measurements: what got slower, larger or less accurate beyond noise, and which answers flipped.

    Exits with status 1 if anything got worse.
    """
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
        typer.Argument(help=f"Check this model instead, before it is trained. Named as for `{EDGEKIT} optimize`."),
    ] = None,
    sample_shape: Annotated[
        list[str] | None,
        typer.Option(help="With a model: 1,3,224,224 or tokens=1,16:int64. Repeat for each input."),
    ] = None,
    deep: Annotated[bool, typer.Option("--deep", help="Also try the engines that compile a model first.")] = False,
    build: Annotated[
        bool, typer.Option("--build", help="Compile ExecuTorch's C++ shim first, or say why that fails.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Show which engines are installed and work here. Each runs a tiny int8 model in a process of its own.

    With a MODEL: show what each engine does with its operators, in float and in int8. Uses random weights.
    """
    if model is None and sample_shape:
        raise UsageError(f"--sample-shape belongs to a model: {EDGEKIT} doctor MODEL --sample-shape 1,3,224,224")
    if model is not None:
        if deep or build:
            raise UsageError("--deep and --build check this machine's engines, not a model: leave out one or the other")
        from edgekit.cli.preflight import doctor_model

        finish(doctor_model(model, sample_shapes=sample_shape or (), as_json=as_json))
        return
    from edgekit.cli.doctor import doctor as run

    finish(run(deep=deep, build=build, as_json=as_json))
