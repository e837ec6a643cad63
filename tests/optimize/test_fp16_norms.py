"""fp16 of nets that take Hounsfield units: the input's batch norm has a variance that 16 bits cannot hold."""

from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch
from onnx.reference import ReferenceEvaluator

from edgekit.edge_runtime.tasks.metrics import relative_error, sqnr_db
from edgekit.optimize.deploy import deploy_book_model
from edgekit.optimize.exporters import EXPORTERS
from edgekit.optimize.recipes import RECIPES
from edgekit.optimize.recipes.fp16 import halve_torch
from edgekit.optimize.recipes.fp16_norms import unfold_wide_norms, unfold_wide_onnx_norms
from edgekit.train.data import lidc
from edgekit.train.registry import book_model

WEIGHTS = "book/part2/models/cls_2020-02-06_14.16.55_final-nodule-nonnodule.best.state"


def net(variance: float) -> torch.nn.Module:
    torch.manual_seed(0)
    norm = torch.nn.BatchNorm2d(2)
    norm.running_mean.fill_(-600.0)
    norm.running_var.fill_(variance)
    norm.weight.data.uniform_(0.5, 2)
    return torch.nn.Sequential(norm, torch.nn.Conv2d(2, 3, 3, padding=1)).eval().requires_grad_(False)


def captured(module: torch.nn.Module, x: torch.Tensor) -> torch.fx.GraphModule:
    return torch.export.export(module, (x,), strict=False).module()


@pytest.fixture
def hu():
    return torch.randint(-1000, 1000, (3, 2, 8, 8), generator=torch.Generator().manual_seed(1)).float()


def test_a_wide_norm_is_a_multiplication_and_an_addition_and_nothing_else_has_changed(hu):
    module, graph = net(150_000.0), captured(net(150_000.0), hu)
    unfold_wide_norms(graph)
    called = [str(node.target) for node in graph.graph.nodes if node.op == "call_function"]
    assert called[:2] == ["aten.mul.Tensor", "aten.add.Tensor"]
    assert not any("batch_norm" in name for name in called)
    assert relative_error(module(hu).numpy(), graph(hu).numpy()) <= 1e-6


def test_a_norm_that_fits_stays(hu):
    graph = captured(net(400.0), hu)
    unfold_wide_norms(graph)
    assert any("batch_norm" in str(node.target) for node in graph.graph.nodes)


def test_halved_it_answers_as_before(hu):
    module = net(150_000.0)
    assert sqnr_db(module(hu).numpy(), halve_torch(captured(module, hu), iter(()))(hu).numpy()) > 55


def test_onnx_the_same(hu):
    x, y = (onnx.helper.make_tensor_value_info(name, 1, (3, 2, 8, 8)) for name in "xy")
    values = {"w": (1.5, 0.5), "b": (0.1, -0.2), "m": (-600, 20), "v": (150_000, 90)}
    weights = [onnx.numpy_helper.from_array(np.float32(value), name) for name, value in values.items()]
    node = onnx.helper.make_node("BatchNormalization", ["x", "w", "b", "m", "v"], ["y"], epsilon=1e-3)
    proto = onnx.helper.make_model(onnx.helper.make_graph([node], "g", [x], [y], weights))
    before = ReferenceEvaluator(proto).run(None, {"x": hu.numpy()})[0]
    unfold_wide_onnx_norms(proto)
    onnx.checker.check_model(proto, full_check=True)
    assert [made.op_type for made in proto.graph.node] == ["Mul", "Add"]
    assert {tensor.name for tensor in proto.graph.initializer} == {"y.scale", "y.shift"}
    assert relative_error(before, ReferenceEvaluator(proto).run(None, {"x": hu.numpy()})[0]) <= 1e-6


@pytest.mark.parametrize("exporter", ["onnx", "executorch_xnnpack"])
@pytest.mark.slow
def test_the_published_classifier_keeps_the_floor(exporter, data_root, tmp_path):
    if not (data_root / WEIGHTS).is_file() or not (data_root / "luna" / "lidc_3d_hu_100px").is_dir():
        pytest.skip(f"the book's classifier or the crops of LIDC are not in {data_root}")
    book = replace(book_model("luna_classifier"), data=lidc.crops)
    model = deploy_book_model(book, data_root / WEIGHTS)
    some = {"hu": model.validation["hu"][:: max(1, len(model.validation["hu"]) // 4)]}
    path = tmp_path / f"model{EXPORTERS[exporter].suffix}"
    name, recipe = model.outputs[0].name, RECIPES["fp16"]
    with torch.no_grad():
        model.module.head = torch.nn.Identity()  # logits: a softmax hides what was lost
        expected = model.module(torch.from_numpy(some["hu"])).numpy()
    *_, last = EXPORTERS[exporter].export(model, recipe, path)  # of ONNX the halved file, of the other the program
    assert sqnr_db(expected, last.run(some)[name]) > recipe.sqnr_floor_db
