"""`edgekit predict`: a bundle's answers to pictures, arrays, rows of numbers or text, as lines or as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.edge_runtime.arrays import Arrays
from edgekit.edge_runtime.bundle.golden import write_arrays
from edgekit.edge_runtime.bundle.manifest import Manifest
from edgekit.edge_runtime.choice import engine_for
from edgekit.edge_runtime.command_line import command_line
from edgekit.edge_runtime.errors import InputError, UsageError
from edgekit.edge_runtime.files import check_output, require_writable, write_atomically
from edgekit.edge_runtime.format import limit_text, percent_text
from edgekit.edge_runtime.preprocess.samples import Sample, sample_of_row, sample_of_text, samples_of_files
from edgekit.edge_runtime.tasks.classification import Answer
from edgekit.edge_runtime.tasks.detection import CERTAIN, Detections
from edgekit.edge_runtime.tasks.registry import answers_to, task
from edgekit.edge_runtime.tasks.regression import Estimate
from edgekit.edge_runtime.worker.policy import NO_CODE, Policy
from edgekit.edge_runtime.worker.replay import check_task

from .bundles import tensors_text, warn
from .json_answer import print_json
from .terminal import err, escape, out


@dataclass(frozen=True, kw_only=True)
class Given:
    """What a bundle is to answer."""

    images: Sequence[Path] = ()
    """Pictures."""
    files: Sequence[str] = ()
    """Files of arrays, as `samples_of_files` takes them."""
    rows: Sequence[str] = ()
    """Rows of numbers."""
    texts: Sequence[str] = ()
    """Text."""
    invert: bool = False
    """Whether pictures are inverted first."""

    def of_bundle(self, path: Path, manifest: Manifest) -> Iterator[tuple[str, Sample | InputError]]:
        """Each sample by the name that was given, or why it cannot be read.

        Raises:
            UsageError: nothing was given, or something that this bundle does not take.
        """
        if not (self.images or self.files or self.rows or self.texts):
            raise UsageError(f"nothing to answer: {_takes(path, manifest)}")
        if self.images and manifest.preprocessing is None:
            raise UsageError(f"{path} takes arrays, not pictures: {_takes(path, manifest)}")
        if self.texts and manifest.task != "next_character":
            raise UsageError(f"{path} takes no text: {_takes(path, manifest)}")
        for image in self.images:
            yield str(image), self._picture(image, manifest)
        if self.files:
            for sample in samples_of_files(self.files, manifest.inputs):
                yield sample.name, sample
        for row in self.rows:
            yield row, sample_of_row(row, manifest.inputs)
        for text in self.texts:
            yield text, sample_of_text(text, manifest.inputs)

    def _picture(self, image: Path, manifest: Manifest) -> Sample | InputError:
        from edgekit.edge_runtime.preprocess.image import load_seen  # Pillow, which only pictures need

        assert manifest.preprocessing is not None
        try:
            pixels, size = load_seen(image, manifest.preprocessing, invert=self.invert)
        except InputError as error:
            return error
        return Sample(name=str(image), arrays={manifest.inputs[0].name: pixels}, size=size)


def predict(
    path: Path,
    given: Given,
    *,
    top: int,
    engine: str | None = None,
    save_to: Path | None = None,
    as_json: bool,
    policy: Policy = NO_CODE,
) -> bool:
    """Prints the answer to each sample, a line each, or why it cannot be read. Returns whether all could be read.

    Args:
        engine: what runs it, as in `choice.engine_for`.
        save_to: an .npz for all outputs of all samples, by name: (N, …).
    """
    if save_to is not None:
        check_output(save_to, [path, *given.images, *(Path(word.rpartition("=")[2]) for word in given.files)])
        require_writable(save_to.parent)
    with ExitStack() as opened:
        bundle = opened.enter_context(policy.open(path))
        manifest = bundle.manifest.only()
        samples = given.of_bundle(path, manifest)
        first = next(samples)  # before an engine is loaded in vain
        chosen = None if engine is None else engine_for(bundle, engine, allow=policy.allow)
        worker = opened.enter_context(policy.worker(bundle, engine=chosen))
        check_task(bundle)
        warn(bundle, chosen)
        version = worker.load()["version"]
        kind, answers, kept = "image" if given.images else "input", [], []
        for name, sample in _chained(first, samples):
            if isinstance(sample, InputError):
                answers.append({kind: name, "error": str(sample)})
                err.print(f"[red]error:[/red] {escape(str(sample))}", soft_wrap=True)
                continue
            outputs = worker.run(sample.arrays)
            if save_to is not None:
                kept.append(outputs)
            plain, line = _answer(outputs, sample.size, manifest, top, saved=save_to is not None)
            answers.append({kind: name, **plain})
            if not as_json:
                out.print(f"{escape(name)}: {line}", soft_wrap=True)
    if save_to is not None and kept:
        arrays = {name: np.concatenate([one[name] for one in kept]) for name in kept[0]}
        with write_atomically(save_to) as part, part.open("wb") as file:
            write_arrays(file, arrays)
    if as_json:
        print_json({"bundle": manifest.name, "status": manifest.status, "engine": version, "answers": answers})
    elif save_to is not None and kept:
        out.print(f"Outputs of {len(kept)}: {escape(str(save_to))}", soft_wrap=True)
    return all("error" not in answer for answer in answers)


def _chained(first: tuple[str, Any], rest: Iterator[tuple[str, Any]]) -> Iterator[tuple[str, Any]]:
    yield first
    yield from rest


def _takes(path: Path, manifest: Manifest) -> str:
    """What to give a bundle, as the command that does so."""
    if manifest.preprocessing is not None:
        return command_line("predict", path, "PICTURE")
    if manifest.task == "next_character":
        return command_line("predict", path, "--text", "TEXT")
    names = [spec.name for spec in manifest.inputs]
    files = [f"--input={name}=FILE.npy" for name in names] if len(names) > 1 else ["--input=FILE.npy"]
    return f"{tensors_text(manifest.inputs)}. {command_line('predict', path, *files)}"


def _answer(
    outputs: Arrays, size: tuple[int, int] | None, manifest: Manifest, top: int, *, saved: bool
) -> tuple[dict[str, Any], str]:
    """A sample's answer as plain data and as one line; `size`: (width, height) of a picture as it was given."""
    try:
        (answer,) = answers_to(
            outputs,
            manifest.holds,
            task=task(manifest.task),
            labels=manifest.labels,
            suppression=manifest.suppression,
        )
    except UsageError:  # too many numbers to print
        if not saved:
            raise
        shapes = {name: list(array.shape) for name, array in outputs.items()}
        return {"shapes": shapes}, ", ".join(f"{escape(name)} {shape}" for name, shape in shapes.items())
    contract = manifest.preprocessing
    if isinstance(answer, Detections) and size is not None and contract is not None:
        from edgekit.edge_runtime.preprocess.image import seen_area

        answer = answer.placed(seen_area(size, contract), (contract.width, contract.height), size)
    return _in_both_forms(answer, top)


def _in_both_forms(answer: Answer | Estimate | Detections, top: int) -> tuple[dict[str, Any], str]:
    """An answer as plain data and as one line: the `top` most probable labels, every number, or what is found."""
    if isinstance(answer, Detections):
        found = [{"label": one.label, "score": one.score, "box": list(one.box)} for one in answer.found]
        return {"detections": found}, _found_line(answer)
    if isinstance(answer, Estimate):
        line = ", ".join(f"{escape(label)} [bold]{value:.4g}[/bold]" for label, value in answer.values)
        return {"values": dict(answer.values)}, line
    ranking = [{"label": label, "probability": p} for label, p in answer.ranking[:top]]
    others = ", ".join(f"{escape(label)} {percent_text(p)}" for label, p in answer.ranking[1:top])
    plain = {"label": answer.label, "probability": answer.probability, "top": ranking}
    return plain, f"[bold]{escape(answer.label)}[/bold] {percent_text(answer.probability)}  [dim]{others}[/dim]"


def _found_line(answer: Detections) -> str:
    """Like "7 98.2 % at 10,12 to 24,31; and 3 below 50 %"."""
    parts = []
    for one in answer.certain:
        left, top, right, bottom = (f"{edge:.0f}" for edge in one.box)
        at = f"[dim]at {left},{top} to {right},{bottom}[/dim]"
        parts.append(f"[bold]{escape(one.label)}[/bold] {percent_text(one.score)} {at}")
    fainter = len(answer.found) - len(parts)
    parts += [f"[dim]{'and ' if parts else ''}{fainter:,} below {limit_text(CERTAIN)}[/dim]"] if fainter else []
    return "; ".join(parts) or "nothing found"
