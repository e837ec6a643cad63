"""What is measured of the device side is measured: small real runs of each part."""

import sys

import pytest
from tiny_bundle import make_bundle

from edgekit.edge_runtime.errors import EngineError, UsageError
from experiments.footprint import _cold_starts, _disk, _overhead, _python, measure


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return make_bundle(tmp_path_factory.mktemp("tiny"), name="tiny")


def test_the_overhead_of_run_is_a_few_microseconds(bundle):
    found = _overhead(bundle, rounds=9)
    assert len(found.engine_ns) == len(found.library_ns) == 9
    assert -5 < found.us < 100  # 3 on an idle machine; the target is 20
    assert found.share == pytest.approx(found.us * 1e3 / min(found.library_ns), abs=1)


def test_cold_starts_are_taken_in_turn_and_kept(bundle):

    rows = _cold_starts([("one", sys.executable, bundle, {}), ("two", sys.executable, bundle, {})], 2)
    assert [(row.name, len(row.milliseconds), len(row.peak_rss_bytes)) for row in rows] == [
        ("one", 2, 2),
        ("two", 2, 2),
    ]
    assert {row.torch_loaded for row in rows} == {False}
    assert max(max(row.peak_rss_bytes) for row in rows) < 150e6


def test_the_largest_packages_come_first(tmp_path):
    packages = tmp_path / "lib" / "python3.11" / "site-packages"
    for name, size in (("small", 10), ("large", 500)):
        (packages / name).mkdir(parents=True)
        (packages / name / "a.py").write_bytes(bytes(size))
    assert list(_disk(tmp_path).items()) == [("all", 510), ("large", 500), ("small", 10)]


def test_what_is_not_there_is_named(tmp_path):
    with pytest.raises(UsageError, match="holds no bundle .-onnx-w8a8_static. `edgekit quickstart` makes one"):
        measure(tmp_path, None, repeats=1)
    with pytest.raises(EngineError, match="failed: .*ZeroDivisionError"):
        _python("python3", "-c", "1/0")
