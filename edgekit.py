"""The front door: one `edgekit` command. Each verb lives in the folder that does it and is imported when it is used."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from edge_runtime.errors import EdgekitError, UsageError

app = typer.Typer(
    name="edgekit",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    help="From a trained PyTorch model to the smallest and fastest bundle that provably keeps its accuracy.\n\n"
    "Start with `edgekit quickstart`; then `edgekit demo` to look at what it made.",
)

OWN = "A model of your own"
MAKE, USE = "Make bundles", "Check, run and measure bundles (no torch needed for ONNX)"

Model = Annotated[str, typer.Argument(help="A model of the registry; `edgekit models` lists them.")]
BundlePath = Annotated[Path, typer.Argument(help="A bundle folder or .zip.")]
BundlePaths = Annotated[list[Path], typer.Argument(help="Bundle folders or .zip files, or a folder of them.")]
Runs = Annotated[Path, typer.Option(help="Where training runs and measurements are kept.")]
Json = Annotated[bool, typer.Option("--json", help="Print the answer as JSON on stdout, and nothing else there.")]
Allow = Annotated[
    list[str] | None,
    typer.Option(help="Load this format though it runs code from the file: torchscript or aot; may be given again."),
]
Key = Annotated[Path | None, typer.Option(help="A public key in PEM: only bundles signed for it are loaded.")]
Signed = Annotated[bool, typer.Option("--require-signature", help="Load no bundle that no --key was checked for.")]
Quick = Annotated[bool, typer.Option("--quick", help="Measure for a shorter time: rough, not valid to quote.")]


@app.command(rich_help_panel=MAKE)
def quickstart(
    out: Annotated[Path, typer.Option(help="Where the bundles go.")] = Path("bundles"), runs: Runs = Path("runs")
) -> None:
    """Train a digit classifier, make seven bundles of it, prove and measure each. Takes a minute or two."""
    from optimize.quickstart import quickstart as run

    _finish(run(out=out, runs=runs))


@app.command(rich_help_panel=MAKE)
def models(as_json: Json = False) -> None:
    """List the models that can be trained and optimized by name."""
    from train.commands import list_models

    list_models(as_json=as_json)


@app.command(rich_help_panel=MAKE)
def train(
    model: Model,
    runs: Runs = Path("runs"),
    epochs: Annotated[int | None, typer.Option(min=1, help="Instead of the model's own setting.")] = None,
    seed: Annotated[int | None, typer.Option(help="Instead of the model's own setting.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    precision: Annotated[
        str | None, typer.Option(help="32-true or bf16-mixed, instead of the model's own setting.")
    ] = None,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Log curves, pictures and weights into the run's folder.")
    ] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last finished epoch.")] = False,
    epoch_samples: Annotated[
        int | None, typer.Option(help="Crops drawn an epoch, for the models of chest CTs; fewer for a CPU.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Train a model of the registry with the book's settings; Ctrl-C keeps the last epoch."""
    from train.commands import train_model

    train_model(
        model,
        out=runs,
        epochs=epochs,
        seed=seed,
        device=device,
        precision=precision,
        tensorboard=tensorboard,
        resume=resume,
        epoch_samples=epoch_samples,
        json=as_json,
    )


@app.command(rich_help_panel=MAKE)
def reproduce(
    chapters: Annotated[
        str | None, typer.Option(help="Like 1-8 or 2,7,14. Default: 1-8, or those of the models named.")
    ] = None,
    model: Annotated[list[str] | None, typer.Option("--models", help="Only this model; may be given again.")] = None,
    skip: Annotated[list[str] | None, typer.Option(help="Not this model; the report says how long it takes.")] = None,
    seeds: Annotated[int, typer.Option(help="How many runs of each model, each with another seed.")] = 3,
    epochs: Annotated[int | None, typer.Option(help="Instead of each model's own; the report says so.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    jobs: Annotated[int, typer.Option(help="Trainings at the same time; most use one CPU thread.")] = 1,
    out: Annotated[Path, typer.Option(help="Where the results go.")] = Path("results"),
    runs: Runs = Path("runs/reproduction"),
    docs: Annotated[Path, typer.Option(help="Where REPRODUCTION.md and its figures go.")] = Path("docs"),
    report_only: Annotated[bool, typer.Option("--report-only", help="Train nothing: report on finished runs.")] = False,
) -> None:
    """Train the book's models and write a report: its figures beside ours. Ctrl-C keeps all; the same again goes on."""
    from train.reproduce import Request
    from train.reproduce import reproduce as run

    asked = Request(
        chapters=chapters,
        models=tuple(model or ()),
        skip=tuple(skip or ()),
        seeds=seeds,
        epochs=epochs,
        device=device,
        jobs=jobs,
        out=out,
        runs=runs,
        docs=docs,
    )
    _finish(run(asked, report_only=report_only))


@app.command(rich_help_panel=MAKE)
def optimize(
    what: Annotated[
        str,
        typer.Argument(
            help="A model of the registry; or package.module:callable or file.py:callable that gives an nn.Module; "
            "or torchvision:NAME, timm:NAME."
        ),
    ],
    weights: Annotated[
        Path | None,
        typer.Option(help="A .safetensors or a state dict; default: the trained run's, or the source's own."),
    ] = None,
    recipe: Annotated[list[str] | None, typer.Option(help="Only this recipe; may be given again.")] = None,
    exporter: Annotated[
        list[str] | None, typer.Option(help="Only this exporter; may be given again. aot is made only so.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Where the bundles go.")] = Path("bundles"),
    runs: Runs = Path("runs"),
    max_batch: Annotated[
        int, typer.Option(min=1, help="Leave the batch free, for 1 to this many rows in one run.")
    ] = 1,
    max_drop: Annotated[
        float, typer.Option(min=0, max=1, help="How much of the float accuracy may be lost, relative.")
    ] = 0.01,
    allow_unverified: Annotated[
        bool, typer.Option("--allow-unverified", help="Keep a bundle that missed its gate, stamped unverified.")
    ] = False,
    objective: Annotated[
        str, typer.Option(help="What the best is the best in: latency, size or memory; default: size and speed.")
    ] = "",
    time_budget: Annotated[
        str | None, typer.Option(help="Like 10m or 90s: what has not begun by then is left out.")
    ] = None,
    again: Annotated[
        bool, typer.Option("--again", help="Make everything anew, also what has not changed since it was packed.")
    ] = False,
    calibration: Annotated[
        Path | None, typer.Option(help="Real samples: a folder of pictures, or .npy, .npz, .h5.", rich_help_panel=OWN)
    ] = None,
    validation: Annotated[
        Path | None,
        typer.Option(
            help="Samples with true answers: one folder a class, a CSV of file,label, or arrays with `targets`.",
            rich_help_panel=OWN,
        ),
    ] = None,
    labels: Annotated[
        Path | None, typer.Option(help="One label a line, in the order of the outputs.", rich_help_panel=OWN)
    ] = None,
    task: Annotated[
        str,
        typer.Option(help="classification (puts a softmax behind logits), regression or none.", rich_help_panel=OWN),
    ] = "",
    name: Annotated[str, typer.Option(help="What the bundles are called.", rich_help_panel=OWN)] = "",
    sample_shape: Annotated[
        list[str] | None,
        typer.Option(help="Like 1,3,224,224, or tokens=1,16:int64; again for each further input.", rich_help_panel=OWN),
    ] = None,
    calibration_samples: Annotated[
        int, typer.Option(min=1, help="Calibrate on at most so many of them.", rich_help_panel=OWN)
    ] = 256,
    random_samples: Annotated[
        bool,
        typer.Option(
            "--random-samples", help="Calibrate on noise; bundles are stamped unverified.", rich_help_panel=OWN
        ),
    ] = False,
    random_weights: Annotated[
        bool,
        typer.Option(
            "--random-weights", help="Weights as they are drawn, to try the way offline.", rich_help_panel=OWN
        ),
    ] = False,
    resize: Annotated[str | None, typer.Option(help="stretch or resize_crop.", rich_help_panel=OWN)] = None,
    resize_to: Annotated[
        int | None, typer.Option(min=1, help="Scale the shorter side to this, then cut.", rich_help_panel=OWN)
    ] = None,
    mean: Annotated[
        str | None, typer.Option(help="On the scale 0 to 1, like 0.485,0.456,0.406.", rich_help_panel=OWN)
    ] = None,
    std: Annotated[str | None, typer.Option(help="Like 0.229,0.224,0.225.", rich_help_panel=OWN)] = None,
    mode: Annotated[str | None, typer.Option(help="RGB or L (grey).", rich_help_panel=OWN)] = None,
    interpolation: Annotated[
        str | None, typer.Option(help="bilinear, bicubic or nearest.", rich_help_panel=OWN)
    ] = None,
    quick: Quick = False,
    as_json: Json = False,
) -> None:
    """Export and quantize a trained model every way it can go; deliver only what was proven on real samples.

    A model of your own needs real samples: `--calibration`, and `--validation` for its accuracy. See docs/OWN_MODEL.md.
    """
    from optimize.commands import Options, optimize_model, seconds_of
    from optimize.own_commands import optimize_own, wishes_of
    from optimize.sources import is_registered

    options = Options(
        recipes=tuple(recipe or ()),
        exporters=tuple(exporter or ()),
        out=out,
        max_drop=max_drop,
        max_batch=max_batch,
        allow_unverified=allow_unverified,
        quick=quick,
        objective=objective,
        time_budget_s=None if time_budget is None else seconds_of(time_budget),
        again=again,
    )
    wishes = wishes_of(
        what,
        calibration=calibration,
        validation=validation,
        labels=labels,
        task=task,
        name=name,
        sample_shape=sample_shape,
        calibration_samples=calibration_samples,
        random_samples=random_samples,
        random_weights=random_weights,
        resize=resize,
        resize_to=resize_to,
        mean=mean,
        std=std,
        mode=mode,
        interpolation=interpolation,
    )
    if is_registered(what):
        _finish(optimize_model(what, weights=weights, runs=runs, options=options, as_json=as_json))
        return
    _finish(
        optimize_own(
            what,
            wishes,
            weights=weights,
            random_weights=random_weights,
            runs=runs,
            options=options,
            as_json=as_json,
        )
    )


luna = typer.Typer(no_args_is_help=True, help="Chest CTs for chapters 10 to 14: make synthetic ones, prepare any.")
app.add_typer(luna, name="luna", rich_help_panel=MAKE)


@luna.command()
def synthesize(
    folder: Annotated[Path, typer.Argument(help="Where the scans go, in LUNA16's own layout.")],
    scans: Annotated[int, typer.Option(help="How many.")] = 20,
    seed: Annotated[int, typer.Option(help="Another seed, other scans.")] = 1,
    slices: Annotated[int, typer.Option(help="Of each scan, 1.25 mm apart.")] = 120,
    side: Annotated[int, typer.Option(help="Pixels of 0.7 mm along a slice; patients have 512.")] = 256,
    others: Annotated[int, typer.Option(min=1, help="Candidates of each scan that are no nodules.")] = 60,
) -> None:
    """Make SYNTHETIC chest CTs with nodules of known place and size. They show no patient."""
    from train.luna_commands import synthesize as run

    run(folder, count=scans, seed=seed, slices=slices, side=side, others=others)


@luna.command("prepare")
def luna_prepare(
    folder: Annotated[Path, typer.Argument(help="subset0 to subset9 with the two lists beside them.")],
    store: Annotated[Path | None, typer.Option(help="Default: luna/store in the data folder.")] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Scans that are read at the same time.")] = 1,
    as_json: Json = False,
) -> None:
    """Cut all candidates of LUNA16's scans once, so that training opens no whole scan. The same again goes on."""
    from train.luna_commands import prepare as run

    _finish(run(folder, store=store, jobs=jobs, as_json=as_json))


@luna.command("samples")
def luna_samples(
    store: Annotated[Path | None, typer.Option(help="Default: luna/store in the data folder.")] = None,
) -> None:
    """Prepare the few real crops of the data folder, where it has them: to prove artifacts, too few to train on."""
    from train.luna_commands import samples as run

    run(store=store)


@app.command(rich_help_panel=MAKE)
def nodules(
    scan: Annotated[Path, typer.Argument(help="A chest CT: a .mhd or .mha file, or a folder of DICOM slices.")],
    out: Annotated[Path, typer.Option(help="Where the page, its pictures and nodules.json go; not there yet.")] = Path(
        "nodules"
    ),
    weights: Annotated[
        str | None, typer.Option(help="book: the published checkpoints. The default where no file is given.")
    ] = None,
    segmenter: Annotated[Path | None, typer.Option(help="Weights of luna_unet, together with --classifier.")] = None,
    classifier: Annotated[Path | None, typer.Option(help="Weights of luna_classifier.")] = None,
    malignancy: Annotated[
        Path | None, typer.Option(help="Weights of luna_malignancy: says of each finding how likely it is malignant.")
    ] = None,
    top: Annotated[int, typer.Option(min=0, help="How many findings get a picture.")] = 20,
    as_json: Json = False,
) -> None:
    """Look for nodules in a whole chest CT, as the book's chapter 14 does. For study: no medical device."""
    from train.nodules_commands import nodules as run

    run(
        scan,
        out=out,
        weights=weights,
        segmenter=segmenter,
        classifier=classifier,
        malignancy=malignancy,
        top=top,
        as_json=as_json,
    )


@app.command(rich_help_panel=MAKE)
def report(
    results: Annotated[Path, typer.Argument(help="A results.json of `optimize`, `quickstart` or `benchmark --out`.")],
    out: Annotated[Path | None, typer.Option(help="Default: report.html beside the results.")] = None,
) -> None:
    """Turn a measurement into one HTML file with plots that opens anywhere, offline."""
    from optimize.report import report_command

    report_command(results, out)


@app.command(rich_help_panel=USE)
def inspect(bundle: BundlePath, as_json: Json = False) -> None:
    """Say what a bundle is, what it takes and gives, and what was proven of it. Checks every file, runs nothing."""
    from edge_runtime.commands import inspect as run

    run(bundle, as_json=as_json)


@app.command(rich_help_panel=USE)
def verify(
    bundles: BundlePaths,
    key: Key = None,
    require_signature: Signed = False,
    allow: Allow = None,
    as_json: Json = False,
) -> None:
    """Check every file, replay the golden inputs in a child process, and compare with the float model's answers."""
    from edge_runtime.commands import verify as run
    from edge_runtime.trust import Trust

    trust = Trust.asked(allow=tuple(allow or ()), key=key, require_signature=require_signature)
    _finish(run(bundles, as_json=as_json, trust=trust))


@app.command(rich_help_panel=USE)
def sign(
    bundle: BundlePath,
    key: Annotated[Path, typer.Option(help="A private EC key in PEM, without a password.")],
) -> None:
    """Sign a bundle, so that `verify --key` can tell who made it. An older signature is replaced.

    To make a pair of keys: `openssl ecparam -name prime256v1 -genkey -noout -out key.pem`, then
    `openssl ec -in key.pem -pubout -out public.pem`. Keep key.pem to yourself; give public.pem to devices.
    """
    from edge_runtime.commands import sign as run

    run(bundle, key)


@app.command(rich_help_panel=USE)
def pack(
    bundle: BundlePath, out: Annotated[Path | None, typer.Option(help="Default: the bundle's name with .zip.")] = None
) -> None:
    """Put a bundle into one .zip; the same bundle always gives the same bytes."""
    from edge_runtime.commands import pack as run

    run(bundle, out)


@app.command(rich_help_panel=USE)
def predict(
    bundle: BundlePath,
    images: Annotated[list[Path], typer.Argument(help="Pictures: JPEG, PNG, WebP, TIFF, BMP or GIF.")],
    top: Annotated[int, typer.Option(min=1, help="How many answers to show for each.")] = 3,
    invert: Annotated[bool, typer.Option("--invert", help="Swap dark and light first (ink on paper).")] = False,
    key: Key = None,
    require_signature: Signed = False,
    allow: Allow = None,
    as_json: Json = False,
) -> None:
    """Answer for pictures with a bundle."""
    from edge_runtime.commands import predict as run
    from edge_runtime.trust import Trust

    trust = Trust.asked(allow=tuple(allow or ()), key=key, require_signature=require_signature)
    _finish(run(bundle, images, top=top, invert=invert, as_json=as_json, trust=trust))


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
    from edge_runtime.scaling import Sweep
    from edge_runtime.trust import Trust

    if scenario is not None and profile:
        raise UsageError("--scenario and --profile measure in different ways: choose one")
    if scenario is None and (duration_s, qps, latency_ms) != (None, None, None):
        raise UsageError("--duration-s, --qps and --latency-ms belong to --scenario: add one, or leave them out")
    trust = Trust.asked(allow=tuple(allow or ()), key=key, require_signature=require_signature)
    sweep = Sweep.asked(threads=threads, scaling=scaling, batch=batch)
    if scenario is not None:
        from edge_runtime.measure_commands import loadgen

        loadgen(
            bundles,
            scenario,
            duration_s=10.0 if duration_s is None else duration_s,
            qps=qps,
            latency_ms=latency_ms,
            logs=out,
            as_json=as_json,
            sweep=sweep,
            trust=trust,
        )
        return
    if profile:
        from edge_runtime.measure_commands import profile as run_profile

        run_profile(bundles, quick=quick, save_to=out, as_json=as_json, sweep=sweep, trust=trust)
        return
    from edge_runtime.benchmark_commands import Printing
    from edge_runtime.benchmark_commands import benchmark as run

    printing = Printing(details=details, as_json=as_json, save_to=out)
    run(bundles, quick=quick, sweep=sweep, printing=printing, trust=trust)


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
    from edge_runtime.benchmark_commands import compare_files
    from edge_runtime.judgement import Limits

    limits = Limits(
        max_slower=max_slower,
        max_larger=max_larger,
        max_more_memory=max_more_memory,
        max_slower_start=max_slower_start,
        max_drop=max_drop,
    )
    _finish(compare_files(before, after, limits=limits, as_json=as_json))


@app.command(rich_help_panel=USE)
def doctor(
    deep: Annotated[bool, typer.Option("--deep", help="Also try engines that compile their model first.")] = False,
    build: Annotated[
        bool, typer.Option("--build", help="Compile ExecuTorch's C++ shim now, or say why it cannot be.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Say which engines are installed and work here: each runs a tiny int8 model in a process of its own."""
    from edge_runtime.doctor_commands import doctor as run

    _finish(run(deep=deep, build=build, as_json=as_json))


@app.command(rich_help_panel=USE)
def demo(
    bundles: Annotated[Path, typer.Option(help="The folder of bundles to show.")] = Path("bundles"),
    port: Annotated[int | None, typer.Option(help="Default: a free one.")] = None,
    browser: Annotated[bool, typer.Option(help="Open the page in the browser.")] = True,
    allow: Allow = None,
) -> None:
    """Compare the full and the quantized model side by side in the browser, on this machine only."""
    from demo_app.launch import launch
    from edge_runtime.trust import Trust

    trust = Trust.asked(allow=tuple(allow or ()), key=None, require_signature=False)
    launch(bundles, port=port, open_browser=browser, allow=trust.allow)


def main() -> None:
    """Runs the command. Expected failures are one message and an exit status, never a traceback."""
    try:
        app()
    except EdgekitError as error:
        _complain(str(error))
        sys.exit(error.exit_status)
    except ModuleNotFoundError as error:
        extra = _EXTRAS.get((error.name or "").split(".")[0])
        if extra is None:
            raise
        _complain(f"this needs {error.name}, which is not installed. Run: pip install 'edgekit[{extra}]'")
        sys.exit(1)
    except KeyboardInterrupt:
        _complain("interrupted")
        sys.exit(130)
    except BrokenPipeError:
        # Whoever read our output (`| head`) is gone; Python would complain again when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        place = f" ({error.filename})" if error.filename else ""
        _complain(f"{error.strerror or error}{place}")
        sys.exit(1)


# What a missing package belongs to, for verbs that need more than the base install.
_EXTRAS = {
    "torch": "optimize",
    "torchvision": "optimize",
    "lightning": "optimize",
    "safetensors": "optimize",
    "sklearn": "optimize",
    "h5py": "optimize",
    "pydicom": "optimize",
    "SimpleITK": "luna",
    "zarr": "luna",
    "onnx": "optimize",
    "onnxscript": "optimize",
    "torchao": "optimize",
    "executorch": "optimize",
    "matplotlib": "optimize",
    "onnxruntime": "onnx",
    "streamlit": "demo",
    "altair": "demo",
}


def _finish(passed: bool) -> None:
    if not passed:
        raise typer.Exit(1)


def _complain(message: str) -> None:
    print(f"error: {message}", file=sys.stderr)


if __name__ == "__main__":
    main()
