"""Scans as tasks: the order of results, lost workers, and `luna prepare` and `nodules evaluate` on a real local Ray."""

import os
import re
import signal
import socket

import numpy as np
import pytest
import SimpleITK
from small_nodules import LUNG_HU, always, ball, thresholding

from edgekit.cli.luna import prepare
from edgekit.edge_runtime.command_line import install
from edgekit.edge_runtime.errors import EdgekitError, MissingDependency, UsageError
from edgekit.train.checkpoint import save_weights
from edgekit.train.data import luna_store, scan_tasks
from edgekit.train.data.luna import MALIGNANCY
from edgekit.train.data.luna_store import cut_scan, fill, scan_jobs
from edgekit.train.data.scan_tasks import TRIES, Lost, WorkerLost, run_scans
from edgekit.train.data.synthetic_ct import write_scans
from edgekit.train.nodules.evaluate import NetFiles, evaluate


class Loses:
    """Two workers that finish the last task first and lose the jobs of `losses` as often as they say."""

    running = 4

    def __init__(self, losses):
        self.losses, self.most = dict(losses), 0

    def submit(self, job):
        return (job, object())

    def finished(self, tasks):
        self.most = max(self.most, len(tasks))
        return tasks[-1:]

    def result(self, task):
        if self.losses.get(task[0], 0):
            self.losses[task[0]] -= 1
            raise WorkerLost("gone")
        return task[0] * 10


def run(workers, count, ordered):
    retried = []
    found = list(scan_tasks._run(workers, range(count), ordered, lambda job, why: retried.append((job, why))))
    return found, retried


@pytest.mark.parametrize("ordered", [False, True])
def test_a_lost_worker_costs_its_job_and_no_other(ordered):
    workers = Loses({2: 1, 5: TRIES})
    found, retried = run(workers, 9, ordered)
    lost = Lost(why="its worker was lost 3 times: gone")
    assert sorted(found, key=lambda pair: pair[0]) == [(n, lost if n == 5 else n * 10) for n in range(9)]
    assert sorted(retried) == [(2, "gone"), (5, "gone"), (5, "gone")]
    assert ([n for n, _ in found] == list(range(9))) is ordered
    assert workers.most == 4


def test_processes_give_the_results_in_order():
    assert list(run_scans(abs, [-3, 2, -1], processes=2, ordered=True)) == [(-3, 3), (2, 2), (-1, 1)]
    assert sorted(run_scans(abs, [-3, 2, -1], processes=2)) == [(-3, 3), (-1, 1), (2, 2)]


def test_what_the_work_raises_is_raised():
    with pytest.raises(TypeError, match="bad operand"):
        list(run_scans(abs, ["a", "b"], processes=2))


def test_a_process_that_dies_is_an_error_with_a_way_on():
    advice = "Run the same command again to continue, with fewer --jobs"
    with pytest.raises(EdgekitError, match=f"one of the processes died.*{advice}"):
        list(run_scans(os._exit, [1, 1], processes=2))


def test_no_ray_there(monkeypatch):
    with pytest.raises(UsageError, match="'here' is not the address of a Ray. Give host:port"):
        list(run_scans(abs, [1], ray="here"))
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(EdgekitError, match=f"nothing answers at 127.0.0.1:{port}: .*refused"):
        list(run_scans(abs, [1], ray=f"127.0.0.1:{port}"))
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    missing = f"--ray needs Ray, which is not installed. Run: {install('ray')}"
    with pytest.raises(MissingDependency, match=re.escape(missing)):
        list(run_scans(abs, [1], ray="local"))


@pytest.fixture(scope="module")
def ray():
    """One local Ray of two workers for all tests here, since its start takes seconds."""
    ray = pytest.importorskip("ray")
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="error")
    yield ray
    assert ray.is_initialized()  # whoever was given "local" took this one, and left it running
    ray.shutdown()


def dying(work, once):
    """`work`, that kills its own process the first time it meets a job, by the file `once`."""

    def killed(job):
        try:
            once.touch(exist_ok=False)
        except FileExistsError:
            return work(job)
        return os.kill(os.getpid(), signal.SIGKILL)

    return killed


def test_prepare_on_ray_cuts_the_same_rows_and_each_scan_once(ray, tmp_path, capsys):
    write_scans(tmp_path / "luna", 3, slices=40, side=96, others=3)
    luna_store.prepare(tmp_path / "luna", tmp_path / "alone")
    assert prepare(tmp_path / "luna", store=tmp_path / "store", ray="local")
    assert "3 scans, 3 of them cut now" in capsys.readouterr().out
    contents = [{p.name: p.read_bytes() for p in (tmp_path / s).iterdir()} for s in ("alone", "store")]
    assert contents[0] == contents[1]
    assert prepare(tmp_path / "luna", store=tmp_path / "store", ray="local")
    assert "3 scans, 0 of them cut now" in capsys.readouterr().out


def test_a_killed_worker_costs_one_try_of_one_scan(ray, tmp_path):
    write_scans(tmp_path / "luna", 4, slices=40, side=96, others=3)
    jobs, retried = scan_jobs(tmp_path / "luna"), []
    work = dying(cut_scan, tmp_path / "killed")
    index = fill(tmp_path / "store", "scans", "", jobs, work, ray="local", on_retry=lambda uid, _: retried.append(uid))
    assert (tmp_path / "killed").is_file()
    assert len(retried) == 1
    assert [scan.uid for scan in index.scans] == sorted(jobs)
    assert index.skipped == ()
    fill(tmp_path / "alone", "scans", "", jobs, cut_scan)
    contents = [{p.name: p.read_bytes() for p in (tmp_path / s).iterdir()} for s in ("alone", "store")]
    assert contents[0] == contents[1]


def test_a_scan_that_kills_every_worker_is_skipped(ray, tmp_path):
    write_scans(tmp_path / "luna", 2, slices=40, side=96, others=3)

    def killed(job):
        if job[0].endswith("1"):
            os.kill(os.getpid(), signal.SIGKILL)
        return cut_scan(job)

    index = fill(tmp_path / "store", "scans", "", scan_jobs(tmp_path / "luna"), killed, ray="local")
    assert [scan.crops > 0 for scan in index.scans] == [True, False]
    assert index.scans[1].skipped.startswith("its worker was lost 3 times: ")


def test_evaluate_on_ray_counts_as_without(ray, tmp_path):
    root = tmp_path / "luna"
    (root / "subset0").mkdir(parents=True)
    hu = np.where(ball((32, 48, 48), (16, 20, 20), 4), 0, LUNG_HU).astype(np.int16)
    for uid in "abc":
        SimpleITK.WriteImage(SimpleITK.GetImageFromArray(hu), str(root / "subset0" / f"{uid}.mhd"))
    (root / "subset0" / "c.raw").unlink()
    write_scans(tmp_path / "head", 1, slices=40, side=96, others=1)
    head = (tmp_path / "head" / MALIGNANCY).read_text().splitlines()[0]
    (root / MALIGNANCY).write_text(f"{head}\na,20,20,16,8,True,[5],0,0,0,0,0,0,1\n")
    save_weights(thresholding(), tmp_path / "segmenter.safetensors")
    save_weights(always(3), tmp_path / "classifier.safetensors")
    nets = NetFiles.of({n: tmp_path / f"{n}.safetensors" for n in ("segmenter", "classifier")}, bundles=False)
    found = evaluate(root, tmp_path / "out", nets, series=["a", "b", "c"], ray="local")
    assert found.tables["a"].tolist() == [[0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 1, 0]]
    assert found.tables["b"].tolist() == [[0, 0, 1, 0], [0, 0, 0, 0], [0, 0, 0, 0]]
    assert [one.series_uid for one in found.skipped] == ["c"]
    assert sorted(path.name for path in (tmp_path / "out" / "scans").iterdir()) == ["a.json", "b.json"]


def test_what_a_task_raises_comes_through_ray(ray):
    with pytest.raises(TypeError, match="bad operand"):
        list(run_scans(lambda job: abs(job), ["a"], ray="local"))
