"""Memory of a process, on systems with /proc and on those without."""

import psutil
import pytest

from edgekit.edge_runtime.machine.memory import peak_rss_bytes, rss_bytes, total_bytes


def test_without_proc_the_answers_are_the_same(tmp_path):
    assert rss_bytes(status=tmp_path / "none") == pytest.approx(rss_bytes(), rel=0.1)
    # The kernel counts both peaks, one of them in the parent's life too.
    assert peak_rss_bytes(status=tmp_path / "none") >= 0.9 * peak_rss_bytes() > 5_000_000


def test_the_memory_of_the_machine_is_what_psutil_says():
    assert total_bytes() == pytest.approx(psutil.virtual_memory().total, rel=0.01)


def test_status_is_read_in_kib(tmp_path):
    (tmp_path / "status").write_text("Name:\tpython\nVmHWM:\t   2048 kB\nVmRSS:\t   1024 kB\n")
    assert peak_rss_bytes(status=tmp_path / "status") == 2_097_152
    assert rss_bytes(status=tmp_path / "status") == 1_048_576
