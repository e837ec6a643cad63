"""`--target`: only what that device runs is made and ranked, and whose the figures are is said."""

import platform
import sys

import pytest

from edgekit.cli import names
from edgekit.edge_runtime.devices.registry import DEVICES
from edgekit.edge_runtime.devices.targets import TARGETS, whose_figures
from edgekit.edge_runtime.errors import UsageError
from edgekit.optimize import Request
from edgekit.optimize.combinations import combinations, runs_there
from edgekit.optimize.exporters import EXPORTERS


def made(**options):
    return list(dict.fromkeys(exporter.name for exporter, _ in combinations(Request(model="digits_cnn", **options))))


def test_a_phone_gets_no_onnx_file_and_a_browser_no_other():
    assert made(target="android") == made(target="ios") == ["executorch_xnnpack"]
    assert made(target="web") == ["onnx"]
    assert made(target="linux-arm64") == ["executorch_xnnpack", "onnx"]
    assert made(target="server") == made()


def test_what_the_target_does_not_run_is_refused():
    assert made(target="linux-x86", exporters=("onnx",)) == ["onnx"]
    with pytest.raises(UsageError, match="web does not run what executorch_xnnpack makes: it runs that of onnx"):
        made(target="web", exporters=("executorch_xnnpack",))
    with pytest.raises(UsageError, match="unknown target 'toaster'. Known: android, ios, linux-arm64"):
        made(target="toaster")


def test_engines_that_the_target_lacks_are_not_ranked():
    there = [name for name in TARGETS if runs_there(Request(model="m", target=name), "openvino")]
    assert there == ["server"]
    assert runs_there(Request(model="m"), "openvino")


def test_the_figures_of_this_machine_are_not_the_phones():
    said = f"are of this machine ({platform.system()} on {platform.machine()}) and not of android: measure there."
    assert whose_figures("android").endswith(said)
    if sys.platform == "linux" and platform.machine() == "x86_64":
        assert whose_figures("linux-x86").endswith("which is of the kind that linux-x86 means.")


def test_the_tables_agree():
    assert tuple(TARGETS) == names.TARGETS
    assert {name: DEVICES[name].description for name in names.DEVICES} == names.DEVICES
    assert DEVICES.keys() == names.DEVICES.keys()
    for target in TARGETS.values():
        assert set(target.exporters) <= EXPORTERS.keys()
        if target.name in DEVICES:
            assert set(DEVICES[target.name].exporters) <= set(target.exporters)
