"""What the verbs share: the application, the options that several of them take, and how a verb ends."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgekit.edge_runtime.command_line import EDGEKIT

from . import names

if TYPE_CHECKING:
    from edgekit.edge_runtime.worker.policy import Policy

app = typer.Typer(
    name="edgekit",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "terminal_width": names.WIDTH if names.NARROW else None},
    rich_markup_mode=None if names.NARROW else "markdown",
    help="From a trained PyTorch model to the smallest and fastest bundle that provably keeps its accuracy.\n\n"
    f"Start with `{EDGEKIT} quickstart`, then look at the result with `{EDGEKIT} demo`.",
)


def _print_version(asked: bool) -> None:
    if asked:
        from edgekit import __version__

        print(f"edgekit {__version__}")
        raise typer.Exit


@app.callback()
def edgekit(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """The options of the command itself. Its help is the text given to the application."""


def starting(known: Callable[[], Iterable[str]]) -> Callable[[str], list[str]]:
    """For shell completion: the known names that begin with what was typed."""
    return lambda incomplete: [name for name in known() if name.startswith(incomplete)]


def one_of(known: Iterable[str]) -> Callable[[str], list[str]]:
    """`starting` for names that are at hand."""
    return starting(lambda: known)


MAKE, USE = "Make bundles", "Check, run and measure bundles (no torch needed for ONNX)"

Model = Annotated[
    str, typer.Argument(help=f"A built-in model; `{EDGEKIT} models` lists them.", autocompletion=starting(names.models))
]
BundlePath = Annotated[Path, typer.Argument(help="A bundle folder or .zip.")]
BundlePaths = Annotated[list[Path], typer.Argument(help="Bundle folders or .zip files, or a folder that holds them.")]
Runs = Annotated[Path, typer.Option(help="Where training runs and measurements are kept.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON on stdout, and nothing else.")]
Allow = Annotated[
    list[str] | None,
    typer.Option(
        help="Load bundles of this format, although loading them runs code from the file: torchscript, aot or "
        "torch_export. Repeat for more.",
        autocompletion=one_of(("torchscript", "aot", "torch_export")),
    ),
]
Key = Annotated[Path | None, typer.Option(help="A public key (PEM). Load only bundles that carry its signature.")]
Signed = Annotated[
    bool, typer.Option("--require-signature", help="Refuse to load bundles unless --key checks their signature.")
]
On = Annotated[
    str | None,
    typer.Option("--on", help="Do it on a device: ssh:HOST or adb:SERIAL. It needs neither Python nor edgekit."),
]
EngineName = Annotated[
    str | None,
    typer.Option(
        "--engine",
        help="What runs it: onnxruntime or openvino for ONNX bundles; auto takes the fastest one that is installed and "
        "passes the golden replay. Default: the format's usual engine.",
        autocompletion=one_of(names.ENGINES),
    ),
]
Quick = Annotated[bool, typer.Option("--quick", help="Measure briefly. The figures are rough and not valid to quote.")]


def finish(passed: bool) -> None:
    """Ends a verb with exit status 1 unless it passed."""
    if not passed:
        raise typer.Exit(1)


def policy_of(allow: Sequence[str] | None, *, key: Path | None = None, require_signature: bool = False) -> Policy:
    """What `--allow`, `--key` and `--require-signature` mean together. Raises UsageError."""
    from edgekit.edge_runtime.worker.policy import Policy

    return Policy.asked(allow=tuple(allow or ()), key=key, require_signature=require_signature)
