"""`edgekit doctor MODEL`: what each engine does with a model's operators, before it is trained."""

import json
import linecache

import pytest
import torch
from conftest import HELPERS

from edgekit.optimize.preflight.check import Preflight, preflight, random_model
from edgekit.optimize.preflight.on_executorch import examine, kernel_names
from edgekit.optimize.preflight.places import EngineFindings, Finding, source_line

NETS = HELPERS / "preflight_net.py"


def in_executorch(net: str, shape: str) -> dict[str, EngineFindings]:
    model, _ = random_model(f"{NETS}:{net}", [shape])
    found = examine(model, torch.export.export(model.module, model.example, strict=False))
    return {one.engine: one for one in found}


def by_name(found: Preflight) -> dict[str, EngineFindings]:
    return {one.engine: one for one in found.engines}


def of(found: EngineFindings, operator: str) -> Finding:
    return next(one for one in found.findings if one.operator == operator)


def text_of(line: str) -> str:
    file, _, number = line.rpartition(":")
    assert file == NETS.name
    return linecache.getline(str(NETS), int(number)).strip()


def test_an_operator_that_only_torch_has_is_missing_everywhere_else_with_its_line():
    found = preflight(f"{NETS}:Singular", shapes=["1,3,8,8"])
    engines = by_name(found)
    for name in ("onnx", "executorch_xnnpack", "executorch_portable"):
        svd = of(engines[name], "aten._linalg_svd")
        assert (engines[name].runs, svd.placing) == (False, "missing")
        assert "torch.linalg.svdvals(x)" in text_of(svd.where.line)
        assert "_linalg_svd" in engines[name].error
        assert next(one.operator for one in engines[name].findings if one.placing == "missing") == "aten._linalg_svd"
    assert of(engines["executorch_xnnpack"], "aten.convolution").placing == "delegated"
    assert engines["torchscript_traced"].runs
    assert not found.runs_everywhere
    eight = {one.operator: one.int8 for one in engines["executorch_xnnpack"].layers}
    assert (eight["aten.conv2d"], eight["aten.linalg_svdvals"]) == (True, False)


def test_a_convolution_over_volumes_is_missing_until_it_is_rewritten():
    engines = in_executorch("Volume", "1,1,4,6,6")
    xnnpack, portable = engines["executorch_xnnpack"], engines["executorch_portable"]
    conv = of(xnnpack, "aten.convolution")
    assert (conv.placing, conv.where.module) == ("missing", "model.body.0")
    assert "rewrite volumes: edgekit does it by itself" in conv.remedy
    assert xnnpack.runs
    assert "conv3d x1" in xnnpack.rewrites
    assert not [one for one in xnnpack.remaining if one.placing == "missing"]
    assert (portable.runs, of(portable, "aten.convolution").placing) == (False, "missing")
    assert of(portable, "aten.relu").placing == "fallback"


def test_an_instance_norm_falls_back_and_its_rewrite_is_named():
    xnnpack = in_executorch("Normed", "1,3,8,8")["executorch_xnnpack"]
    fell = [one for one in xnnpack.findings if one.placing == "fallback" and one.where.module == "model.norm"]
    assert fell
    assert all("edgekit does it by itself" in one.remedy for one in fell)
    assert xnnpack.runs


def test_a_branch_on_the_data_is_told_with_its_line():
    found = preflight(f"{NETS}:Branching", shapes=["1,4"])
    engines = by_name(found)
    for name in ("onnx", "executorch_xnnpack", "executorch_portable"):
        assert not engines[name].runs
        assert "preflight_net.py, line" in engines[name].error
    assert not found.runs_everywhere


def test_the_command_ends_with_0_where_all_engines_run_it(edgekit):
    done = edgekit("doctor", f"{NETS}:Plain", "--sample-shape", "1,3,8,8", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["runs_everywhere"], found["model"]) == (True, "Plain")
    onnx = next(one for one in found["engines"] if one["engine"] == "onnx")
    assert {"Conv", "Gemm"} <= {one["operator"] for one in onnx["layers"] if one["int8"]}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--sample-shape", "1,4"], "--sample-shape belongs to a model"),
        (["digits_cnn", "--deep"], "--deep and --build check this machine's engines, not a model"),
        (["digits_cnm"], "Did you mean digits_cnn"),
    ],
)
def test_what_does_not_fit_together_is_refused(edgekit, arguments, said):
    done = edgekit("doctor", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_the_line_is_the_innermost_one_outside_libraries():
    trace = f'File "/home/me/net.py", line 7, in forward\n  x\nFile "{torch.__file__}", line 5, in forward\n  y'
    assert source_line(trace) == "net.py:7"
    assert source_line("") == ""


def test_the_runtime_says_which_kernels_it_has():
    names = kernel_names()
    assert "aten::convolution" in names
    assert "aten::_linalg_svd" not in names
