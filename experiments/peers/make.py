"""Makes one kind of file of one model, in a process of its own: `python -m experiments.peers.make MAKER MODEL FOLDER`.

"bare" comes first: the model without what stands before it, as ONNX, torch.export and TorchScript, with real samples
and the float model's answers. The others start from these, each by the interpreter of its library's environment and as
the library's documentation does it. What fails ends the process with the reason, and costs no other file.
"""

from __future__ import annotations

import json
import logging
import shutil
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from .candidates import TRANSFORMERS
from .child import BY_PIXEL

CALIBRATION = 64  # samples: what quantizers are given, ours too
DATA, FRONT, REFERENCE = "data.npz", "front.json", "reference.pickle"


def bare(model: str, folder: Path) -> None:
    """The files that the others are made of.

    `data.npz` holds "pixels" (N, …) as they come, "tensors" normalized, both of the validation split, "calibration"
    tensors, and the float model's "answers".
    """
    import pickle
    from dataclasses import replace

    import torch
    from torch import nn

    from edgekit.edge_runtime.files import write_bytes
    from edgekit.optimize.verify import FloatReference
    from edgekit.train.preprocess import Clip, PixelNormalize

    from ..survey.models import prepare

    surveyed = prepare(model, folder.parent / "weights")
    deployed = surveyed.model
    inputs = deployed.module.inputs
    assert isinstance(inputs, nn.Module)
    net = nn.Sequential(deployed.module.model, deployed.module.head).eval().requires_grad_(False)  # type: ignore[arg-type]
    front: dict[str, Any] = {}
    if isinstance(inputs, PixelNormalize):
        std = 1 / (255 * inputs.scale.double())
        mean = -inputs.shift.double() * std
        front = {"mean": mean.flatten().tolist(), "std": std.flatten().tolist()}
    elif isinstance(inputs, Clip):
        front = {"low": inputs.low, "high": inputs.high}
    name = deployed.inputs[0].name
    deployed = replace(deployed, calibration={name: deployed.calibration[name][:CALIBRATION]}, unlabelled={})
    with torch.inference_mode():
        pixels, chosen = (torch.from_numpy(rows[name].copy()) for rows in (deployed.validation, deployed.calibration))
        tensors, calibration = (inputs(rows).contiguous().numpy() for rows in (pixels, chosen))
        reference = FloatReference.of(deployed)
    answers = reference.validation[deployed.outputs[0].name]
    example = (torch.from_numpy(tensors[:1].copy()),)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.export.export(net, example, strict=False)
        torch.export.save(program, folder / "bare.pt2")
        exported = torch.onnx.export(
            program, example, dynamo=True, optimize=True, opset_version=20, verbose=False,
            input_names=["input"], output_names=["answer"],
        )  # fmt: skip
        assert exported is not None  # only the legacy exporter gives None
        exported.save(str(folder / "bare.onnx"), external_data=False)
        torch.jit.trace(net, example).save(str(folder / "bare.ts"))
    np.savez(folder / DATA, pixels=pixels.numpy(), tensors=tensors, calibration=calibration, answers=answers)
    write_bytes(folder / REFERENCE, pickle.dumps((deployed, reference)))
    facts = {"front": front, "mflop": surveyed.mflop, "weights": surveyed.weights, "samples": deployed.origin}
    write_bytes(folder / FRONT, json.dumps(facts).encode())


def edgekit(model: str, folder: Path, *, exporter: str, recipe: str) -> None:
    """One of our bundles; where the verdict refuses it, it is made all the same, and the row says so."""
    import pickle

    from edgekit.optimize.exporters import EXPORTERS as KNOWN
    from edgekit.optimize.pack import pack_bundle
    from edgekit.optimize.recipes import RECIPES as WAYS

    # Our own file, made by `bare` a moment ago: the model with its weights and samples.
    deployed, reference = pickle.loads((folder / REFERENCE).read_bytes())
    with tempfile.TemporaryDirectory(dir=folder) as made:
        packed = pack_bundle(
            deployed,
            KNOWN[exporter],
            WAYS[recipe],
            Path(made),
            reference=reference,
            allow_unverified=True,
            other_engines=True,  # `auto` takes only what was proven
        )
        target = folder / "bundles" / f"{exporter}-{recipe}"
        target.parent.mkdir(exist_ok=True)
        shutil.rmtree(target, ignore_errors=True)  # of a run that was stopped
        packed.path.rename(target)


def ort_int8(model: str, folder: Path) -> None:
    """onnxruntime's own static quantization, by channel, as its documentation advises for CPUs with VNNI."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Samples(CalibrationDataReader):
        def __init__(self, rows: np.ndarray):
            self._rows = iter(rows)

        def get_next(self) -> dict[str, np.ndarray] | None:
            row = next(self._rows, None)
            return None if row is None else {"input": row[None]}

    ready = folder / "ort-prepared.onnx"
    quant_pre_process(folder / "bare.onnx", ready)
    quantize_static(
        ready,
        folder / "ort-int8.onnx",
        Samples(_calibration(folder)),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )


def nncf_int8(model: str, folder: Path) -> None:
    """NNCF's post-training quantization of the OpenVINO model."""
    import nncf
    import openvino

    rows = [row[None] for row in _calibration(folder)]
    kind = nncf.ModelType.TRANSFORMER if model in TRANSFORMERS else None
    read = openvino.Core().read_model(folder / "bare.onnx")
    quantized = nncf.quantize(read, nncf.Dataset(rows), model_type=kind, subset_size=len(rows))
    openvino.save_model(quantized, folder / "nncf-int8.xml", compress_to_fp16=False)


def xnnpack(model: str, folder: Path, *, int8: bool) -> None:
    """ExecuTorch's own way to XNNPACK, without any rewrite of ours."""
    import torch
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower

    program = torch.export.load(folder / "bare.pt2")
    rows = torch.from_numpy(_calibration(folder))
    if int8:
        from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import (
            XNNPACKQuantizer,
            get_symmetric_quantization_config,
        )
        from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

        quantizer = XNNPACKQuantizer().set_global(get_symmetric_quantization_config(is_per_channel=True))
        observed = prepare_pt2e(program.module(), quantizer)
        with torch.inference_mode():
            for row in rows:
                observed(row[None])
        program = torch.export.export(convert_pt2e(observed), (rows[:1],), strict=False)
    lowered = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()]).to_executorch()
    (folder / f"xnnpack-{'int8' if int8 else 'fp32'}.pte").write_bytes(lowered.buffer)


def litert_fp32(model: str, folder: Path) -> None:
    """LiteRT's converter for PyTorch; pictures go in pixel by pixel, which is the layout that it computes in."""
    import litert_torch
    import torch

    rows = torch.from_numpy(_calibration(folder)[:1])
    net = torch.export.load(folder / "bare.pt2").module()
    pictures = rows.ndim == 4
    target = folder / "litert-fp32.tflite"
    if pictures:
        net = litert_torch.to_channel_last_io(net, args=[0])
        rows = rows.permute(0, 2, 3, 1).contiguous()
        target.with_suffix(BY_PIXEL).touch()
    litert_torch.convert(_evaluated(net), (rows,)).export(str(target))


def _evaluated(net: Any) -> Any:
    """A module around an exported one, whose own `eval` raises: it is in evaluation mode for good."""
    import torch

    class Evaluated(torch.nn.Module):
        def __init__(self, held: Any):
            super().__init__()
            self.__dict__["held"] = held  # not as a submodule, of which `eval` would be called too
            for i, tensor in enumerate(held.state_dict().values()):
                self.register_buffer(f"tensor_{i}", tensor)

        def forward(self, x: Any) -> Any:
            return self.__dict__["held"](x)

    return Evaluated(net)


def litert_int8(model: str, folder: Path) -> None:
    """LiteRT's quantizer of finished files, with 8-bit weights and activations."""
    from ai_edge_quantizer import qtyping, quantizer, recipe
    from ai_edge_quantizer.recipe import AlgorithmName

    source, target = (folder / f"litert-{precision}.tflite" for precision in ("fp32", "int8"))
    rows = _calibration(folder)
    if source.with_suffix(BY_PIXEL).exists():
        rows = np.ascontiguousarray(rows.transpose(0, 2, 3, 1))
        target.with_suffix(BY_PIXEL).touch()
    from ai_edge_litert.interpreter import Interpreter

    (signature, given), *_ = Interpreter(model_path=str(source)).get_signature_list().items()
    work = quantizer.Quantizer(str(source))
    work.load_quantization_recipe(recipe.static_wi8_ai8())
    for side in (qtyping.TFLOperationName.INPUT, qtyping.TFLOperationName.OUTPUT):  # floats in and out, as the others
        work.update_quantization_recipe(".*", side, algorithm_key=AlgorithmName.NO_QUANTIZE)
    ranges = work.calibrate({signature: [{given["inputs"][0]: row[None]} for row in rows]})
    work.quantize(ranges).export_model(str(target), overwrite=True)


def ncnn_fp32(model: str, folder: Path) -> None:
    """ncnn's converter, pnnx, from the traced model. Its wheel has no tools for 8 bits."""
    import pnnx

    sides = ",".join(map(str, (1, *_calibration(folder).shape[1:])))
    with tempfile.TemporaryDirectory(dir=folder) as made:
        # Called as a program: its Python function imports a file that it has written, which Python cannot always read.
        names = {f"pnnx{key}": f"{made}/pnnx.{key}" for key in ("param", "bin", "py", "onnx")}
        names |= {"ncnnpy": f"{made}/ncnn_model.py"}
        names |= {f"ncnn{key}": str((folder / "ncnn").with_suffix(f".{key}")) for key in ("param", "bin")}
        settings = [f"inputshape=[{sides}]f32", "fp16=0", *(f"{key}={path}" for key, path in names.items())]
        done = subprocess.run(
            [pnnx.EXEC_PATH, str(folder / "bare.ts"), *settings], capture_output=True, encoding="utf-8", check=False
        )
        if done.returncode or not (folder / "ncnn.param").exists():
            raise RuntimeError(f"pnnx ended with status {done.returncode}: {done.stderr.strip()[-200:]}")


def _calibration(folder: Path) -> np.ndarray:
    """(N, …) float32: normalized samples to calibrate on."""
    with np.load(folder / DATA) as data:
        return data["calibration"].astype(np.float32, copy=False)


# name -> (environment, what makes it)
MAKERS: dict[str, tuple[str, Callable[[str, Path], None]]] = {
    "bare": ("", bare),
    "ort-int8": ("onnxruntime", ort_int8),
    "nncf-int8": ("openvino", nncf_int8),
    "xnnpack-fp32": ("", partial(xnnpack, int8=False)),
    "xnnpack-int8": ("", partial(xnnpack, int8=True)),
    "litert-fp32": ("litert", litert_fp32),
    "litert-int8": ("litert", litert_int8),
    "ncnn-fp32": ("ncnn", ncnn_fp32),
}


def maker(name: str) -> tuple[str, Callable[[str, Path], None]]:
    """The environment and the function of a maker; those of our bundles are called edgekit-EXPORTER-RECIPE."""
    if name in MAKERS:
        return MAKERS[name]
    exporter, _, recipe = name.removeprefix("edgekit-").rpartition("-")
    return "", partial(edgekit, exporter=exporter, recipe=recipe)


def main() -> None:
    logging.disable(logging.WARNING)
    name, model, folder = sys.argv[1:4]
    maker(name)[1](model, Path(folder))


if __name__ == "__main__":
    main()
