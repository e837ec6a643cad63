"""A device's result as JSON: what is read, what is refused, and the table of results that were handed in."""

import json

import pytest

from edgekit.edge_runtime.devices.self_test import SelfTest, last_json
from edgekit.edge_runtime.errors import EngineError
from experiments.linux_devices import handed_in_table

OUTPUT = {
    "program": "main",
    "output": "probabilities",
    "engine": "executorch 1.5.1",
    "samples": 32,
    "sqnr_db": 49.1,
    "agreement": 1.0,
    "max_abs": 0.0127,
    "max_abs_since_packed": None,
    "passed": True,
}
RESULT = {
    "self_test_version": 1,
    "bundle": "digits_cnn-executorch_xnnpack-w8a8_static",
    "manifest_sha256": "0" * 64,
    "when": "2026-11-29T02:42:38Z",
    "device": "linux-arm64",
    "machine": {"processor": "Raspberry Pi 5", "system": "Linux 6.6 aarch64", "cores": 4},
    "engine": "executorch 1.5.1",
    "num_threads": 1,
    "load_ms": 0.7,
    "peak_rss_bytes": 8437760,
    "latency": {"runs": 100, "median_ms": 0.0294, "p10_ms": 0.016, "p90_ms": 0.0304},
    "results": [OUTPUT],
    "passed": True,
}


def test_a_result_is_a_line_of_the_table(tmp_path):
    assert handed_in_table(tmp_path) == "None has been handed in yet.\n"
    (tmp_path / "pi.json").write_text(json.dumps(RESULT))
    line = handed_in_table(tmp_path).splitlines()[2]
    assert line == (
        "| Raspberry Pi 5 | `linux-arm64` | digits_cnn-executorch_xnnpack-w8a8_static | executorch 1.5.1 | 1 | "
        "0.0294 | 100% | 0.01 | 2026-11-29 |"
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"self_test_version": 2}, "of another version"),
        ({"results": []}, "or empty"),
        ({"latency": {"runs": 1}}, "latency.median_ms is missing"),
        ({"more": 1}, "more"),
        ({"passed": "yes"}, "passed should be true or false"),
    ],
)
def test_another_result_is_refused(change, said):
    with pytest.raises(EngineError, match=said):
        SelfTest.read(json.dumps(RESULT | change).encode())


def test_only_a_last_line_of_json_is_a_result():
    assert last_json(b"a warning\n{}\n") == b"{}"
    assert last_json(b"{}\nedgekit-run: it failed\n") == b""
    assert last_json(b"") == b""
