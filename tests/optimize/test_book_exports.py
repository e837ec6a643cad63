"""Every picture model of chapters 1, 2, 7 and 8 passes through capture and export, with weights as they are drawn."""

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from edgekit.edge_runtime.bundle.manifest import TensorSpec
from edgekit.edge_runtime.tasks.metrics import relative_error, sqnr_db
from edgekit.optimize.deploy import HEADS, Deployable, DeployModel, input_spec, run_module
from edgekit.optimize.exporters import EXPORTERS
from edgekit.optimize.recipes import RECIPES
from edgekit.optimize.verify import EXACT
from edgekit.train.book_model import BookModel, input_module
from edgekit.train.registry import BOOK_MODELS

ONNX, FP32 = EXPORTERS["onnx"], RECIPES["fp32"]
NAMES = [m.name for m in BOOK_MODELS.values() if m.chapter in (1, 2, 7, 8) and m.task == "classification"]


def deployable(book: BookModel) -> DeployModel:
    """The model on made-up inputs. Batch norms get statistics, and the answers a range, as training would give them."""
    torch.manual_seed(0)
    spec, generator = input_spec(book), np.random.default_rng(0)
    raw = generator.integers(0, 256, (8, *spec.shape[1:])).astype(spec.dtype)
    inputs, model = input_module(book), book.build()
    for part in model.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.momentum = 1.0
    with torch.no_grad():
        answers = model.train()(inputs(torch.from_numpy(raw)))
        last = [part for part in model.modules() if isinstance(part, nn.Linear)][-1]
        last.weight /= answers.std()
    name, head = HEADS[book.task]
    return DeployModel(
        name=book.name,
        task=book.task,
        module=Deployable(inputs, model, head).eval().requires_grad_(False),
        inputs=(spec,),
        outputs=(TensorSpec(name=name, dtype="float32", shape=(1, len(book.labels))),),
        preprocessing=book.preprocessing,
        labels=book.labels,
        calibration={spec.name: raw},
        validation={spec.name: raw[:2]},
        targets=np.zeros(2, np.int64),
        weights_sha256="0" * 64,
        origin="made by the test",
    )


# The two nets of 100 blocks take about 10 seconds of processor time each, the others about one.
@pytest.mark.parametrize("name", NAMES)
def test_the_exported_graph_gives_the_eager_answers(name, tmp_path):
    model, path = deployable(BOOK_MODELS[name]), tmp_path / "model.onnx"
    wanted = run_module(model, model.module, model.validation)["probabilities"]
    stages = ONNX.export(model, FP32, path)
    found = {stage.kind: stage.run(model.validation)["probabilities"] for stage in stages}
    pixels = BOOK_MODELS[name].preprocessing is not None
    assert list(found) == ["capture", *(["rewrite"] if pixels else []), "lower"]
    assert relative_error(wanted, found["capture"]) <= EXACT
    assert sqnr_db(wanted, found["lower"]) > FP32.sqnr_floor_db
    operators = {node.op_type for node in onnx.load(path).graph.node}
    assert operators & {"Dropout", "LogSoftmax"} == set()


@pytest.mark.parametrize("name", NAMES)
def test_torchscript_compiles_the_code(name):
    model = deployable(BOOK_MODELS[name])
    wanted = run_module(model, model.module, model.validation)["probabilities"]
    scripted = torch.jit.script(model.module)
    assert relative_error(wanted, run_module(model, scripted, model.validation)["probabilities"]) <= EXACT
