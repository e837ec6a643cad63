"""What is measured: models by their names in the survey, libraries with their environments, and who runs what file.

Names alone: nothing here makes, loads or measures anything.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

MODELS = (
    "birds_cnn",
    "torchvision:mobilenet_v2",
    "torchvision:resnet18",
    "luna_classifier",
    "luna_unet",
    "torchvision:mobilenet_v3_small",
    "torchvision:squeezenet1_1",
    "birds_cnn_resdeep",
    "timm:vit_tiny_patch16_224",
    "timm:levit_128s",
    "timm:mobilevit_xxs",
)
TRANSFORMERS = ("timm:vit_tiny_patch16_224", "timm:levit_128s", "timm:mobilevit_xxs")  # as NNCF wants to know
ROOFLINE = "torchvision:resnet18"  # of which the share of the machine's peak is shown

# Each library has a virtual environment of its own: some of them want other versions of what the others need.
ENVIRONMENTS: dict[str, tuple[str, ...]] = {
    "onnxruntime": ("onnxruntime==1.32.0", "onnx==1.23.2", "sympy==1.14.0", "numpy==2.4.6"),
    "openvino": ("openvino==2026.4.1", "nncf==3.4.0", "onnx==1.23.2", "numpy==2.4.6"),
    "litert": ("litert-torch==0.10.0", "ai-edge-litert==2.3.0", "numpy==2.4.6"),
    "ncnn": ("ncnn==1.0.20261020", "pnnx==20261020", "numpy==2.4.6"),
}
AUTO = "auto"  # the engine that edgekit itself chooses; its row shows which
HERE = ""  # this environment: edgekit itself, and ExecuTorch
RECIPES = ("fp32", "w8a8_static")

Job = Literal["tensors", "pixels"]
"""What goes in: "pixels" as they are, and whoever runs the model normalizes them; "tensors" that are normalized."""


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One way to run one model."""

    name: str
    """In options, files and rows: "openvino-int8-pixels"."""
    library: str
    """What a person calls what runs it."""
    precision: str
    """"fp32", "bf16" or "int8"; of a bundle its recipe."""
    job: Job
    """What goes in."""
    environment: str
    """A name in `ENVIRONMENTS`, or `HERE`."""
    engine: str
    """A name in `child.ENGINES`."""
    file: str
    """What it runs: a file or bundle in the model's folder."""
    made_by: str
    """A name in `make.MAKERS`."""

    @property
    def ours(self) -> bool:
        return self.made_by.startswith("edgekit")


def _peer(
    name: str, library: str, precision: str, environment: str, engine: str, file: str, made_by: str
) -> list[Candidate]:
    """A raw library, twice: with tensors in, and with pixels in."""
    jobs: tuple[Job, ...] = ("tensors", "pixels")
    return [
        Candidate(
            name=f"{name}-{job}",
            library=library,
            precision=precision,
            job=job,
            environment=environment,
            engine=engine,
            file=file,
            made_by=made_by,
        )
        for job in jobs
    ]


def _bundle(exporter: str, recipe: str, engine: str, library: str) -> Candidate:
    return Candidate(
        name=f"edgekit-{exporter}-{recipe}-{engine}",
        library=f"edgekit, {library}",
        precision=recipe,
        job="pixels",
        environment=HERE,
        engine=f"bundle:{engine}",
        file=f"bundles/{exporter}-{recipe}",
        made_by=f"edgekit-{exporter}-{recipe}",
    )


def candidates(recipes: tuple[str, ...] = RECIPES) -> tuple[Candidate, ...]:
    """Every way to run a model, the raw libraries first."""
    peers = [
        *_peer("ort-fp32", "onnxruntime", "fp32", "onnxruntime", "onnxruntime", "bare.onnx", "bare"),
        *_peer("ort-int8", "onnxruntime", "int8", "onnxruntime", "onnxruntime", "ort-int8.onnx", "ort-int8"),
        *_peer("openvino-fp32", "OpenVINO", "fp32", "openvino", "openvino:f32", "bare.onnx", "bare"),
        *_peer("openvino-bf16", "OpenVINO", "bf16", "openvino", "openvino:bf16", "bare.onnx", "bare"),
        *_peer("openvino-int8", "OpenVINO, NNCF", "int8", "openvino", "openvino:f32", "nncf-int8.xml", "nncf-int8"),
        *_peer("xnnpack-fp32", "XNNPACK", "fp32", HERE, "executorch", "xnnpack-fp32.pte", "xnnpack-fp32"),
        *_peer("xnnpack-int8", "XNNPACK", "int8", HERE, "executorch", "xnnpack-int8.pte", "xnnpack-int8"),
        *_peer("litert-fp32", "LiteRT", "fp32", "litert", "litert", "litert-fp32.tflite", "litert-fp32"),
        *_peer("litert-int8", "LiteRT", "int8", "litert", "litert", "litert-int8.tflite", "litert-int8"),
        *_peer("ncnn-fp32", "ncnn", "fp32", "ncnn", "ncnn", "ncnn.param", "ncnn-fp32"),
    ]
    ours = [
        _bundle(exporter, recipe, engine, library)
        for exporter, engine, library in (
            ("onnx", "onnxruntime", "onnxruntime"),
            ("onnx", "openvino", "OpenVINO"),
            ("onnx", AUTO, "auto"),
            ("executorch_xnnpack", "executorch", "ExecuTorch"),
        )
        for recipe in recipes
    ]
    return (*peers, *ours)
