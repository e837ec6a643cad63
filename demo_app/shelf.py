"""The bundles of a folder as the app offers them: the good ones by model, the refused ones with the reason.

Knows manifests and files; loads no model and draws nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgekit.edge_runtime.bundle.bundle import Bundle, find_bundles
from edgekit.edge_runtime.bundle.status import stamp_of
from edgekit.edge_runtime.engines import check_allowed
from edgekit.edge_runtime.errors import EdgekitError, RunsCode

Signature = tuple[tuple[str, int, int], ...]
OpenBundle = Callable[[Path, Signature], Bundle]


@dataclass(frozen=True, kw_only=True)
class Refused:
    """Something that looks like a bundle but was refused."""

    path: Path
    """Where it is."""
    reason: str
    """Why it was refused."""


@dataclass(frozen=True, kw_only=True)
class Shelf:
    """What a folder offers."""

    models: dict[str, tuple[Bundle, ...]]
    """Each model's bundles by its name, both in alphabetical order."""
    refused: tuple[Refused, ...]
    """What was not opened."""
    run_code: tuple[Refused, ...]
    """Good bundles that were not loaded, because that runs code from their files and nobody allowed it."""


def signature(path: Path) -> Signature:
    """(name, bytes, mtime in ns) of each file; a change means that the bundle must be opened and checked again."""
    files = [path] if path.is_file() else sorted(path.iterdir())
    return tuple((file.name, stat.st_size, stat.st_mtime_ns) for file in files for stat in [file.lstat()])


def read_shelf(folder: Path, open_bundle: OpenBundle, *, allow: Sequence[str] = ()) -> Shelf:
    """Opens every bundle of `folder`. A damaged one does not keep the others from being shown.

    A bundle that would run code from its file is left out, unless `allow` names its format. One with several programs
    is refused.

    Raises:
        BundleError: there is no such folder.
    """
    models: dict[str, list[Bundle]] = {}
    refused, run_code = [], []
    for path in find_bundles(folder):
        try:
            bundle = open_bundle(path, signature(path))
            check_allowed(bundle.manifest, path.name, allow)
            bundle.manifest.program()  # one of several would have to be chosen
            models.setdefault(bundle.manifest.model, []).append(bundle)
        except RunsCode as error:
            run_code.append(Refused(path=path, reason=str(error)))
        except (EdgekitError, OSError) as error:  # OSError: it was packed again or removed while it was read
            refused.append(Refused(path=path, reason=str(error)))
    by_name = {name: tuple(models[name]) for name in sorted(models)}
    return Shelf(models=by_name, refused=tuple(refused), run_code=tuple(run_code))


def is_full(bundle: Bundle) -> bool:
    """Whether the bundle holds the weights as they were trained."""
    return bundle.manifest.recipe == "fp32"


def default_pair(bundles: Sequence[Bundle]) -> tuple[int, int]:
    """Which two of a model's bundles to show first: a full one, and a quantized one of the same format.

    Verified bundles come before unverified ones, int8 activations before int8 weights alone, and ONNX before formats
    whose engines are larger. A single bundle is compared with itself.
    """

    def right_rank(i: int) -> tuple[bool, bool, bool, bool]:
        manifest = bundles[i].manifest
        return (
            is_full(bundles[i]),
            not bundles[i].verified,
            manifest.artifact.format != "onnx",
            not manifest.recipe.startswith("w8a8"),
        )

    right = min(range(len(bundles)), key=right_rank)

    def left_rank(i: int) -> tuple[bool, bool, bool, bool]:
        same_format = bundles[i].manifest.artifact.format == bundles[right].manifest.artifact.format
        return i == right, not is_full(bundles[i]), not bundles[i].verified, not same_format

    return min(range(len(bundles)), key=left_rank), right


def title(bundle: Bundle) -> str:
    """What a list calls a bundle: its name, and its stamp if it has one."""
    packed = " (.zip)" if bundle.source.suffix == ".zip" else ""
    stamp = stamp_of(bundle.manifest.status)
    return f"{bundle.name}{packed}" + (f" · {stamp}" if stamp else "")
