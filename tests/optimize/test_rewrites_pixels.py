"""Raw pixels, normalized row by row: the same float32 numbers, in fewer and cheaper operators of every file."""

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from edgekit.edge_runtime.bundle.manifest import TensorSpec
from edgekit.edge_runtime.engines.executorch_python import ExecuTorchSession
from edgekit.edge_runtime.tasks.metrics import sqnr_db
from edgekit.optimize.deploy import Deployable, DeployModel, run_module
from edgekit.optimize.exporters import EXPORTERS
from edgekit.optimize.exporters import onnx as onnx_exporter
from edgekit.optimize.recipes import RECIPES
from edgekit.optimize.rewrites import PIXELS, rewrite
from edgekit.train.preprocess import PixelNormalize

IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class InForward(nn.Module):
    """Normalizes in its own way, in place, by whole numbers, and before the planes are made."""

    def __init__(self):
        super().__init__()
        self.mean = nn.Buffer(torch.tensor([0.4, 0.5, 0.6]))
        self.std = nn.Buffer(torch.tensor([0.2, 0.3, 0.4]).reshape(3, 1, 1))

    def forward(self, pixels):
        x = pixels / 255 - self.mean
        return 2 * x.permute(0, 3, 1, 2).contiguous().div_(self.std) + 1


class Reads(nn.Module):
    """Reads the bytes twice."""

    def forward(self, pixels):
        return pixels.permute(0, 3, 1, 2).float() / 255, pixels.float().mean((1, 2))


class ByPlace(nn.Module):
    """Subtracts a number for each column, which is no channel's."""

    def __init__(self):
        super().__init__()
        self.columns = nn.Buffer(torch.arange(5.0))

    def forward(self, pixels):
        return pixels.permute(0, 3, 1, 2).float() - self.columns


def _captured(module, channels, *, rows=1, width=5):
    pixels = torch.randint(0, 256, (rows, 7, width, channels), dtype=torch.uint8)
    free = ({0: torch.export.Dim("batch", min=1, max=8)},) if rows > 1 else None
    program = torch.export.export(module.eval().requires_grad_(False), (pixels,), dynamic_shapes=free, strict=False)
    return program.module()


@pytest.mark.parametrize("rows", [1, 2])
@pytest.mark.parametrize(
    ("module", "channels"),
    [
        (PixelNormalize(*IMAGENET), 3),
        (PixelNormalize((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)), 3),
        (PixelNormalize((0.1307,), (0.3081,)), 1),
        (PixelNormalize((0.5, 0.4, 0.3, 0.2), (0.25, 0.2, 0.3, 0.1)), 4),
        (InForward(), 3),
    ],
)
def test_every_number_is_the_same(module, channels, rows):
    torch.manual_seed(0)
    captured = _captured(module, channels, rows=rows)
    assert rewrite(captured, [PIXELS]).counts == {"pixels": {"permute": 1}}
    for batch in (1,) if rows == 1 else (1, 3, 8):
        pixels = torch.randint(0, 256, (batch, 7, 5, channels), dtype=torch.uint8)
        assert torch.equal(captured(pixels), module(pixels))


def test_constants_are_as_long_as_a_row_and_one_number_where_all_channels_have_the_same():
    captured = _captured(PixelNormalize(*IMAGENET), 3)
    rewrite(captured, [PIXELS])
    assert {name: tuple(p.shape) for name, p in captured.named_buffers() if "row" in name} == {
        "mul_row": (15,),
        "add_row": (15,),
    }
    captured = _captured(PixelNormalize((0.5,) * 3, (0.25,) * 3), 3)
    rewrite(captured, [PIXELS])
    assert {name: tuple(p.shape) for name, p in captured.named_buffers() if "row" in name} == {
        "mul_row": (1,),
        "add_row": (1,),
    }


@pytest.mark.parametrize("module", [Reads(), ByPlace()])
def test_what_is_read_twice_or_scaled_by_place_keeps_its_planes(module):
    captured = _captured(module, 3)
    kept = [str(node.target) for node in captured.graph.nodes]
    rewrite(captured, [PIXELS])
    arithmetic = {"aten.sub.Tensor", "aten.mean.dim"}
    assert arithmetic & {str(node.target) for node in captured.graph.nodes} == arithmetic & set(kept)
    pixels = torch.randint(0, 256, (1, 7, 5, 3), dtype=torch.uint8)
    for wanted, found in zip(module(pixels), captured(pixels), strict=True):
        assert torch.equal(wanted, found)


@pytest.fixture(scope="module")
def model():
    """Pictures of 8 x 8 with three channels through two convolutions, for one row or a free batch."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 4, 3, stride=2), nn.Flatten())
    pictures = np.random.default_rng(0).integers(0, 256, (24, 8, 8, 3), dtype=np.uint8)
    return DeployModel(
        name="net",
        task="none",
        module=Deployable(PixelNormalize(*IMAGENET), net, nn.Identity()).eval().requires_grad_(False),
        inputs=(TensorSpec(name="image", dtype="uint8", shape=(1, 8, 8, 3)),),
        outputs=(TensorSpec(name="y", dtype="float32", shape=(1, 36)),),
        preprocessing=None,
        labels=(),
        calibration={"image": pictures[:16]},
        validation={"image": pictures[16:]},
        targets=None,
        weights_sha256="0" * 64,
        origin="noise",
    )


def _made(model, exporter, recipe, path):
    """The stages' kinds and notes, and the error of the last one against eager, in decibels."""
    kinds, notes, found = [], {}, {}
    for stage in EXPORTERS[exporter].export(model, RECIPES[recipe], path):
        kinds, notes, found = [*kinds, stage.kind], notes | stage.notes, stage.run(model.validation)
    return kinds, notes, sqnr_db(run_module(model, model.module, model.validation)["y"], found["y"])


@pytest.mark.parametrize("most", [1, 8])
def test_onnx_in_8_bits_rounds_before_it_makes_planes(model, most, tmp_path):
    kinds, _, db = _made(model.with_max_batch(most), "onnx", "w8a8_static", tmp_path / "m.onnx")
    assert kinds == ["capture", "rewrite", "lower", "quantize"]
    assert db > 35
    nodes = [node.op_type for node in onnx.load(tmp_path / "m.onnx").graph.node if node.op_type != "DequantizeLinear"]
    assert nodes[:8] == ["Reshape", "Cast", "Mul", "Add", "QuantizeLinear", "Reshape", "Transpose", "Conv"]
    session = onnxruntime.InferenceSession(tmp_path / "m.onnx", providers=["CPUExecutionProvider"])
    one = [session.run(None, {"image": row[None]})[0] for row in model.validation["image"][:most]]
    together = session.run(None, {"image": model.validation["image"][:most]})[0]
    assert np.array_equal(together, np.concatenate(one))


def test_rounding_earlier_is_the_same_rounding(model, tmp_path):
    """As in the graph that makes planes first, and rounds behind them."""
    *_, planes = onnx_exporter.export(model, RECIPES["w8a8_static"], tmp_path / "planes.onnx", rewrites=())
    *_, rows = onnx_exporter.export(model, RECIPES["w8a8_static"], tmp_path / "rows.onnx")
    assert onnx.load(tmp_path / "planes.onnx").graph.node[0].op_type == "Transpose"
    assert np.array_equal(planes.run(model.validation)["y"], rows.run(model.validation)["y"])


@pytest.mark.parametrize(("recipe", "least_db"), [("fp32", 100), ("w8a8_static", 35)])
def test_xnnpack_makes_the_planes_itself(model, recipe, least_db, tmp_path):
    """Outside the delegate remain the cast, and a view, which moves nothing."""
    kinds, notes, db = _made(model, "executorch_xnnpack", recipe, tmp_path / "m.pte")
    assert kinds[:2] == ["capture", "rewrite"]
    assert notes["rewrites"] == "pixels: permute x1"
    assert notes["outside_delegate"] == "aten_view_copy_default x1, dim_order_ops__to_dim_order_copy_default x1"
    assert db > least_db


@pytest.mark.parametrize("recipe", ["fp32", "w8a8_static"])
def test_xnnpack_takes_a_free_batch(model, recipe, tmp_path):
    """Each row's own answer, whatever stands beside it."""
    *_, single = EXPORTERS["executorch_xnnpack"].export(model.with_max_batch(4), RECIPES[recipe], tmp_path / "m.pte")
    session = ExecuTorchSession(tmp_path / "m.pte", num_threads=1)
    wanted = single.run(model.validation)["y"]
    for rows in (3, 1, 4):
        (found,) = session.run([model.validation["image"][:rows]])
        assert np.abs(found - wanted[:rows]).max() < 1e-6


def test_training_on_leaves_the_normalization_as_it_is(model):
    captured = _captured(model.module, 3)
    rewrite(captured, [PIXELS])
    assert not [name for name, _ in captured.named_parameters() if "row" in name]
