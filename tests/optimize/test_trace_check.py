"""Chapter 15's lesson: a trace that lost a loop or a size of the code is refused, and scripting is the way out."""

import numpy as np
import pytest
import torch
from torch import nn

from edgekit.edge_runtime.bundle.manifest import TensorSpec
from edgekit.edge_runtime.errors import ExportError
from edgekit.edge_runtime.tasks.metrics import relative_error
from edgekit.optimize.deploy import DeployModel, run_module
from edgekit.optimize.exporters import EXPORTERS
from edgekit.optimize.pack import pack_bundle
from edgekit.optimize.recipes import RECIPES
from edgekit.optimize.verify import EXACT, FloatReference

TRACED, SCRIPTED = EXPORTERS["torchscript_traced"], EXPORTERS["torchscript_scripted"]


def model_of(module: nn.Module, *shape: int, max_batch: int = 1) -> DeployModel:
    """`module` with 24 samples of noise as its real data: (1, *shape) in, whatever it gives out."""
    rows = np.random.default_rng(0).normal(size=(24, *shape)).astype(np.float32)
    given = module(torch.from_numpy(rows[:1]))
    model = DeployModel(
        name="book",
        task="none",
        module=module.eval().requires_grad_(False),
        inputs=(TensorSpec(name="x", dtype="float32", shape=(1, *shape)),),
        outputs=(TensorSpec(name="y", dtype="float32", shape=tuple(given.shape)),),
        preprocessing=None,
        labels=(),
        calibration={"x": rows[:8]},
        validation={"x": rows[8:]},
        targets=None,
        weights_sha256="0" * 64,
        origin="made by the test",
    )
    return model.with_max_batch(max_batch)


def pack(model, exporter, folder):
    return pack_bundle(model, exporter, RECIPES["fp32"], folder, reference=FloatReference.of(model)).path


def stages(model, exporter, folder):
    """What the exporter came to, each stage held to the module; leaves model.ts in `folder`."""
    wanted, names = run_module(model, model.module, model.validation)["y"], []
    for stage in exporter.export(model, RECIPES["fp32"], folder / "model.ts"):
        assert relative_error(wanted, stage.run(model.validation)["y"]) <= EXACT
        names.append(stage.kind)
    return names


class SumInLoop(nn.Module):
    """The book's loop, over the columns of each row: a trace adds up as many as its sample had."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        total = x[:, 0]
        for i in range(1, x.shape[1]):
            total = total + x[:, i]
        return total[:, None]


class EachRow(nn.Module):
    """The same over the batch: within the sizes that the bundle itself would declare."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        rows = torch.zeros_like(x)
        for i in range(x.shape[0]):
            rows[i] = x[i] * 2.0
        return rows


class CropAsInTheBook(nn.Module):
    """The skip connection of the book's U-Net: its input, cropped about the centre to what comes from below."""

    def crop(self, skip: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        top = (skip.size(2) - target.size(2)) // 2
        left = (skip.size(3) - target.size(3)) // 2
        return skip[:, :, top : top + target.size(2), left : left + target.size(3)]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        below = nn.functional.avg_pool2d(x, 2)
        return (self.crop(x, below) + below).amax(dim=(2, 3))


class CropByNumbers(CropAsInTheBook):
    """The same with sizes made Python numbers, which is what the torch of the book's day made of them by itself."""

    def crop(self, skip: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        height, width = int(target.size(2)), int(target.size(3))
        top, left = int((skip.size(2) - height) // 2), int((skip.size(3) - width) // 2)
        return skip[:, :, top : top + height, left : left + width]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.crop(x, nn.functional.avg_pool2d(x, 2)).amax(dim=(2, 3))


class SaysWhatIsLarge(nn.Module):
    """A branch on the size, in a signature that TorchScript does not take."""

    def forward(self, x, *others):
        return x.sum(dim=1, keepdim=True) if int(x.shape[1]) > 6 else x[:, :1]


@pytest.mark.parametrize(
    ("module", "shape", "size", "wrong"),
    [
        (SumInLoop(), (5,), "1 x 10", "answers otherwise"),
        (CropByNumbers(), (1, 8, 8), "1 x 1 x 8 x 4", "answers otherwise"),
    ],
)
def test_a_trace_that_lost_a_part_is_refused_and_scripting_keeps_it(module, shape, size, wrong, tmp_path):
    model = model_of(module, *shape)
    with pytest.raises(ExportError, match=rf"at {size} the module answers and the trace {wrong} \(") as refused:
        pack(model, TRACED, tmp_path)
    assert "Remedy: torchscript_scripted, which compiles the code: it was tried and answers" in str(refused.value)
    assert list(tmp_path.iterdir()) == []
    assert stages(model, SCRIPTED, tmp_path) == ["capture", "lower"]


def test_the_line_that_made_a_size_a_number_is_named(tmp_path):
    with pytest.raises(ExportError, match=r"Your line: .*test_trace_check\.py, line \d+"):
        pack(model_of(CropByNumbers(), 1, 8, 8), TRACED, tmp_path)


def test_the_crop_as_the_book_writes_it_is_recorded_with_its_sizes(tmp_path):
    model = model_of(CropAsInTheBook(), 1, 8, 8)
    assert stages(model, TRACED, tmp_path) == ["capture", "lower"]
    reloaded, larger = torch.jit.load(str(tmp_path / "model.ts")), torch.randn(1, 1, 20, 12)
    assert torch.equal(reloaded(larger), model.module(larger))


def test_a_loop_over_the_batch_is_found_within_the_declared_batch(tmp_path):
    model = model_of(EachRow(), 3, max_batch=8)
    with pytest.raises(ExportError, match=r"at \d x 3 the module answers and the trace"):
        pack(model, TRACED, tmp_path)
    assert stages(model, SCRIPTED, tmp_path) == ["capture", "lower"]


def test_where_scripting_fails_too_that_is_said(tmp_path):
    with pytest.raises(ExportError, match="TorchScript cannot compile it either"):
        pack(model_of(SaysWhatIsLarge(), 5), TRACED, tmp_path)


def test_a_model_of_one_size_is_traced_as_before(tmp_path):
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(72, 4))
    assert stages(model_of(net, 1, 8, 8), TRACED, tmp_path) == ["capture", "lower"]
