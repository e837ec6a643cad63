"""Real ONNX bundles of small nets for scans: what the tests of `edgekit nodules --bundles` share."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from small_nodules import always
from tiny_bundle import ORIGIN, one_program
from torch import nn

from edgekit.edge_runtime.bundle.golden import GoldenSet, save_golden
from edgekit.edge_runtime.bundle.manifest import FORMAT_VERSION, Manifest, OutputSpec, TensorSpec

TILE = (1, 7, 96, 96)
CROP = (1, 1, 32, 48, 48)


def pack_net(folder: Path, model: str, net: nn.Module, shape: tuple[int, ...], output: str) -> None:
    """A real ONNX bundle of `net`, with one golden sample."""
    folder.mkdir(parents=True)
    example = torch.zeros(shape)
    with torch.inference_mode():
        answer = net.eval()(example).numpy()
    exported = torch.onnx.export(net, (example,), input_names=["hu"], output_names=[output], dynamo=True, verbose=False)
    exported.save(str(folder / "model.onnx"))
    golden = GoldenSet(
        inputs={"hu": example.numpy()}, outputs={output: answer}, packed={}, targets=np.zeros(1, np.int64)
    )
    save_golden(folder / "golden.npz", golden)
    taken = TensorSpec(name="hu", dtype="float32", shape=shape)
    holds = "mask" if output == "mask" else "probabilities"
    given = OutputSpec(name=output, dtype="float32", shape=answer.shape, holds=holds)
    manifest = Manifest(
        format_version=FORMAT_VERSION,
        name=folder.name,
        model=model,
        task="segmentation" if output == "mask" else "classification",
        recipe="fp32",
        exporter="onnx",
        status="verified",
        verdict=None,
        programs=(one_program(folder, [taken], [given], 1, engines=()),),
        preprocessing=None,
        labels=("share of the pixels in a nodule",) if output == "mask" else ("no", "yes"),
        metrics=(),
        stages=(),
        origin=ORIGIN,
        tools={"torch": str(torch.__version__)},
        provenance={"data": "made by the test"},
    )
    (folder / "manifest.json").write_bytes(manifest.to_bytes())


class Chances(nn.Module):
    """A classifier that answers probabilities, as delivered ones do."""

    def __init__(self, logit):
        super().__init__()
        self.net = always(logit)

    def forward(self, hu):
        return self.net(hu).softmax(1)
