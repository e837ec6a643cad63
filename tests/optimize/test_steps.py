"""What is said while a library works for minutes, and what is spared of that work."""

import copy

import numpy as np
import pytest
import torch
from quarters import quarters_model
from terminal import in_terminal
from torch import nn
from torch._export import utils
from torch.fx.traceback import NodeSource

from edgekit.optimize import events
from edgekit.optimize.exporters import EXPORTERS
from edgekit.optimize.exporters.repeated_work import (
    composites_listed_once,
    needless_subgraphs_left_out,
    shared_history,
)
from edgekit.optimize.pack import pack_bundle
from edgekit.optimize.recipes import RECIPES
from edgekit.optimize.steps import begin, heard_by
from edgekit.optimize.verify import FloatReference


def test_each_step_of_a_bundle_is_said_before_its_stage(tmp_path):
    net = quarters_model(nn.Sequential(nn.AvgPool2d(2), nn.Flatten(), nn.Linear(4, 4)), name="quarters", samples=64)
    heard = []
    reference = FloatReference.of(net)
    pack_bundle(
        net, EXPORTERS["onnx"], RECIPES["fp32"], tmp_path, reference=reference, allow_unverified=True,
        on_event=heard.append,
    )  # fmt: skip
    told = [e.text if isinstance(e, events.StepBegun) else e.result.stage for e in heard]
    assert told[:2] == ["capturing the graph", "capture"]
    assert told[-4:-2] == ["converting to ONNX", "lower"]
    assert told[-2:] == ["running the finished bundle on every sample", "reload"]


def test_nobody_hears_of_steps_outside():
    heard = []
    with heard_by(heard.append):
        begin("inside")
    begin("outside")
    assert [event.text for event in heard] == ["inside"]


@pytest.mark.slow
@pytest.mark.parametrize("columns", [40, 120])
def test_a_terminal_shows_what_is_done_and_for_how_long(tmp_path, columns):
    """The libraries' own stderr is caught meanwhile, and must not take the line with it."""
    (tmp_path / "net.py").write_text(
        "from torch import nn\ndef build():\n    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))\n"
    )
    np.save(tmp_path / "rows.npy", np.random.default_rng(0).normal(size=(16, 4)).astype(np.float32))
    asked = ["net.py:build", "--random-weights", "--task", "none", "--calibration", "rows.npy"]
    ways = ["--exporter", "onnx", "--recipe", "fp32", "--quick"]
    shown = in_terminal("optimize", *asked, *ways, columns=columns, cwd=tmp_path)
    assert shown.returncode == 0, shown.text
    for word in ("capturing", "converting", "finished"):  # what follows may stand on the next line
        assert word in shown.text
    assert "0:00:0" in shown.text
    assert shown.text.endswith("\n")


def test_histories_are_shared_in_there_and_copied_again_after():
    graph = torch.fx.symbolic_trace(nn.Linear(2, 2)).graph
    source = NodeSource(next(iter(graph.nodes)), "a pass")
    with shared_history():
        assert copy.deepcopy([source])[0] is source
    assert copy.deepcopy([source])[0] is not source


def test_composite_operators_are_listed_anew_only_when_some_were_added():
    listed = vars(utils)["_collect_all_valid_cia_ops"]
    before, whole = listed(), utils._collect_all_valid_cia_ops_for_namespace
    with composites_listed_once():
        assert listed() == before
        known = dict(utils._collect_all_valid_cia_ops_for_namespace.known)
        assert listed() == before
        assert utils._collect_all_valid_cia_ops_for_namespace.known == known
        with torch.library._scoped_library("edgekit_test", "DEF") as library:
            library.define("twice(Tensor x) -> Tensor")
            library.impl("twice", lambda x: x + x, "CompositeImplicitAutograd")
            assert torch.ops.edgekit_test.twice.default in listed()
    assert utils._collect_all_valid_cia_ops_for_namespace is whole


@pytest.mark.parametrize(
    ("net", "left_out"),
    [(nn.Linear(2, 2), True), (nn.Upsample(scale_factor=2, mode="bilinear"), False)],
    ids=["linear", "bilinear"],
)
def test_subgraphs_are_looked_for_only_where_their_operators_are(net, left_out):
    import executorch.backends.xnnpack.partition.xnnpack_partitioner  # noqa: F401 (which imports the subgraphs)
    from executorch.backends.xnnpack.partition.graphs import bilinear_2d

    whole = bilinear_2d.get_graphs_dict
    with needless_subgraphs_left_out(torch.export.export(net, (torch.zeros(1, 1, 2, 2),))):
        assert (bilinear_2d.get_graphs_dict is dict) == left_out
    assert bilinear_2d.get_graphs_dict is whole
