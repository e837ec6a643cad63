"""One task for each scan: in this process, in several, or on Ray, where a lost worker costs only its own scan.

Ray is imported when it is asked for; everything else works without it. In a Ray of several machines, each needs edgekit
installed and the scans under the same path. This module knows no scan and no model.
"""

from __future__ import annotations

import os
import secrets
import socket
import sys
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from edgekit.edge_runtime.command_line import install
from edgekit.edge_runtime.errors import EdgekitError, MissingDependency, UsageError, shown
from edgekit.edge_runtime.python_child import process_pool

Job = TypeVar("Job")
Result = TypeVar("Result")
LOCAL = "local"
TRIES = 3  # of a scan whose worker is lost: the scan itself may be what kills it
_LONGEST_S = 10  # that a Ray elsewhere may take to answer
_ADVICE = "Give host:port as printed by `ray start --head`, or --ray local"


@dataclass(frozen=True, kw_only=True)
class Lost:
    """In place of a result: the worker was lost at every try."""

    why: str
    """What Ray said last."""


class WorkerLost(Exception):
    """The process that ran the task is gone."""


class _Workers(Protocol):
    """Where tasks run."""

    running: int
    """How many tasks are kept in progress."""

    def submit(self, job: Any) -> Any: ...

    def finished(self, tasks: Collection[Any]) -> Collection[Any]:
        """Waits until at least one of `tasks` is finished, and returns those that are."""

    def result(self, task: Any) -> Any:
        """What the work returned; raises what it raised, or WorkerLost."""


def run_scans(
    work: Callable[[Job], Result],
    jobs: Sequence[Job],
    *,
    processes: int = 1,
    ray: str | None = None,
    ordered: bool = False,
    on_retry: Callable[[Job, str], None] | None = None,
) -> Iterator[tuple[Job, Result | Lost]]:
    """Each job with what `work` returns for it, as they finish, or in the order of `jobs` if `ordered`.

    Args:
        work: must be picklable unless it runs in this process, and must turn a bad scan into a result by itself.
        processes: how many run here; with a local Ray, its workers.
        ray: "local" starts a Ray on this machine and stops it at the end; otherwise the address of a running one. A
            process that is connected to a Ray already uses that one.
        ordered: at most twice as many results as there are workers wait for their turn.
        on_retry: called with a job whose worker was lost and that is tried again, and the reason.

    Raises:
        MissingDependency: Ray is asked for but not installed.
        UsageError: `ray` is not an address.
        EdgekitError: nothing answers at the address, or a process outside of Ray died; its scan is not known.
        whatever `work` raises.
    """
    if not jobs:
        return
    if ray is None and (processes == 1 or len(jobs) < 2):
        for job in jobs:
            yield job, work(job)
        return
    place: AbstractContextManager[_Workers]
    place = _on_ray(work, ray, processes) if ray else _here(work, min(processes, len(jobs)))
    with place as workers:
        for number, result in _run(workers, jobs, ordered, on_retry):
            yield jobs[number], result


def _run(
    workers: _Workers, jobs: Sequence[Job], ordered: bool, on_retry: Callable[[Job, str], None] | None
) -> Iterator[tuple[int, Any]]:
    waiting, under_way, tries = deque(range(len(jobs))), dict[Any, int](), Counter[int]()
    ready: dict[int, Any] = {}
    turn = 0  # of the next result, if they are ordered

    def free() -> bool:
        return bool(waiting) and (
            len(under_way) < workers.running and (not ordered or waiting[0] < turn + workers.running)
        )

    while waiting or under_way:
        while free():
            number = waiting.popleft()
            under_way[workers.submit(jobs[number])] = number
        for task in workers.finished(list(under_way)):
            number = under_way.pop(task)
            try:
                ready[number] = workers.result(task)
            except WorkerLost as lost:
                tries[number] += 1
                if tries[number] < TRIES:
                    waiting.appendleft(number)
                    if on_retry:
                        on_retry(jobs[number], str(lost))
                else:
                    ready[number] = Lost(why=f"its worker was lost {TRIES} times: {lost}")
        while ready and (not ordered or turn in ready):
            number = turn if ordered else next(iter(ready))
            turn += 1
            yield number, ready.pop(number)


class _Pool:
    def __init__(self, work: Callable[[Any], Any], pool: ProcessPoolExecutor, processes: int) -> None:
        self._work, self._pool, self.running = work, pool, 2 * processes

    def submit(self, job: Any) -> Future:
        return self._pool.submit(self._work, job)

    def finished(self, tasks: Collection[Future]) -> Collection[Future]:
        return wait(tasks, return_when=FIRST_COMPLETED).done

    def result(self, task: Future) -> Any:
        try:
            return task.result()
        except BrokenProcessPool:
            raise EdgekitError(
                "one of the processes died, and the others with it; perhaps memory ran out. Run the same command again "
                "to continue, with fewer --jobs, or with --ray local, which would lose only one scan"
            ) from None


@contextmanager
def _here(work: Callable[[Any], Any], processes: int) -> Iterator[_Pool]:
    with process_pool(processes) as pool:
        yield _Pool(work, pool, processes)


class _Ray:
    def __init__(self, ray: Any, work: Callable[[Any], Any]) -> None:
        self._ray = ray
        self.running = 2 * max(1, int(ray.cluster_resources().get("CPU", 1)))
        # No retries by Ray itself: nobody would hear of them. It takes functions only, no partial objects.
        self._remote = ray.remote(num_cpus=1, max_retries=0)(lambda job: work(job))

    def submit(self, job: Any) -> Any:
        return self._remote.remote(job)

    def finished(self, tasks: Collection[Any]) -> Collection[Any]:
        return self._ray.wait(list(tasks), fetch_local=False)[0]

    def result(self, task: Any) -> Any:
        try:
            return self._ray.get(task)
        except self._ray.exceptions.RayTaskError as error:
            raise error.cause from None
        except self._ray.exceptions.RayError as error:
            raise WorkerLost(shown(error, 200)) from None


@contextmanager
def _on_ray(work: Callable[[Any], Any], address: str, processes: int) -> Iterator[_Ray]:
    # Ray is to report nothing to its makers, and to build no second environment under `uv run`.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
    if address == LOCAL and "ray" not in sys.modules:
        # Ray cannot keep its ports to the loopback: they are open on every interface while it runs. So it asks for a
        # token that only this process and its children know; Ray reads it when it is imported.
        os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=secrets.token_hex(32))
    try:
        import ray
    except ModuleNotFoundError:
        raise MissingDependency(f"--ray needs Ray, which is not installed. Run: {install('ray')}") from None
    ours = not ray.is_initialized()  # else the caller has connected this process, and keeps its Ray
    if ours:
        _connect(ray, address, processes)
    try:
        yield _Ray(ray, work)
    finally:
        if ours:
            ray.shutdown()  # of a local one all, of another our part in it, with the tasks that are under way


def _connect(ray: Any, address: str, processes: int) -> None:
    quiet = {"log_to_driver": False, "logging_level": "error"}
    if address == LOCAL:
        ray.init("local", num_cpus=processes, include_dashboard=False, **quiet)
        return
    _check_answers(address)
    try:
        ray.init(address, **quiet)
    except (ConnectionError, RuntimeError, ValueError, TimeoutError, SystemExit) as error:
        raise EdgekitError(f"Ray at {address} refuses: {shown(error, 200)}. {_ADVICE}") from None


def _check_answers(address: str) -> None:
    """Raises EdgekitError if nothing listens: Ray itself would take two minutes, and then end the process."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdigit():
        raise UsageError(f"{address!r} is not the address of a Ray. {_ADVICE}")
    try:
        socket.create_connection((host, int(port)), timeout=_LONGEST_S).close()
    except (OSError, OverflowError) as error:
        raise EdgekitError(f"nothing answers at {address}: {shown(error, 200)}. {_ADVICE}") from None
