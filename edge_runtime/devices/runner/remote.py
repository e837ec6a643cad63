"""Replays and times a bundle on a device that is reached over a wire, and leaves nothing there."""

from __future__ import annotations

import shutil
import subprocess
from contextlib import suppress
from pathlib import Path

from ...benchmark.benchmark_result import Settings
from ...bundle.bundle import Bundle
from ...errors import BundleError, EdgekitError, EngineError, MissingDependency, shown
from ...temporary import LockedFolder
from ...worker.policy import NO_CODE, Policy
from ..app import write_app
from ..linux import toolchain
from ..linux.apps import BUNDLES, MACHINES, RUNNER
from ..self_test import SelfTest, last_json
from .places import Adb, Place, place

_RUN_S = 600
# What a program made for Linux needs and Android does not have.
_C_LIBRARIES = (
    "ld-linux-aarch64.so.1",
    "libc.so.6",
    "libdl.so.2",
    "libgcc_s.so.1",
    "libm.so.6",
    "libpthread.so.0",
    "librt.so.1",
    "libstdc++.so.6",
)
VERIFYING = Settings(rounds=5, round_ms=60, min_samples=100)
"""How long a device measures that is only to replay."""


def run_on(
    where: str,
    bundle: str | Path,
    *,
    settings: Settings = VERIFYING,
    policy: Policy = NO_CODE,
) -> SelfTest:
    """Copies the runner and the bundle to a device, runs the self-test there, and removes both.

    Args:
        where: `ssh:HOST` or `adb:SERIAL`.
        settings: how long to measure, and with how many threads.
        policy: the key that must verify the bundle's signature, if any.
    Raises:
        UsageError, MissingDependency: `where` is neither, or a tool is missing here.
        BundleError: the bundle is damaged, or of a kind that the runner cannot run.
        EngineError: the device cannot be reached, is of an unknown kind, or the runner failed there.
    """
    device = place(where)
    with policy.look(bundle) as opened:
        return _run(device, opened, settings)


def _run(device: Place, bundle: Bundle, settings: Settings) -> SelfTest:
    machine = device.machine()
    if machine not in MACHINES:
        raise EngineError(
            f"{device.name} is of the kind {shown(machine, 40)}; there are runners for {' and '.join(MACHINES)}"
        )
    temporary = LockedFolder()
    try:
        app = temporary.path / "app"
        write_app(MACHINES[machine], [bundle.folder], app, minimal=True)
        if not (app / RUNNER).is_file():
            processor = "x86_64" if machine == "x86_64" else "aarch64"
            package = toolchain.compiler_package(processor)
            raise MissingDependency(
                f"there is no compiler for {machine} here. Run: apt-get install {package} libstb-dev"
            )
        shutil.rmtree(app / "source")
        if isinstance(device, Adb):
            _add_c_libraries(app / "lib")
        return _replayed(device, app, bundle, settings)
    finally:
        temporary.remove()


def _replayed(device: Place, app: Path, bundle: Bundle, settings: Settings) -> SelfTest:
    try:
        device.make()
        device.push(app)
        command = [f"{device.folder}/{RUNNER}"]
        if isinstance(device, Adb):
            command = [f"{device.folder}/lib/{_C_LIBRARIES[0]}", "--library-path", f"{device.folder}/lib", *command]
        command += [f"{device.folder}/{BUNDLES}/{bundle.name}", "--self-test", "--json", "--raw"]
        for option in ("rounds", "round_ms", "min_samples"):
            command += [f"--{option.replace('_', '-')}", str(getattr(settings, option))]
        done = device.run(*command, "--threads", str(settings.num_threads), timeout_s=_RUN_S)
    finally:
        with suppress(EdgekitError):  # what went wrong before is what the user has to know
            device.remove()
    found = last_json(done.stdout)
    if not found:
        said = done.stderr.decode(errors="replace").strip().splitlines() or [f"exit status {done.returncode}"]
        raise EngineError(f"{device.name}: {shown(said[-1], 800)}")
    result = SelfTest.read(found)
    if result.manifest_sha256 != bundle.sha256 or result.bundle != bundle.name:
        raise BundleError(f"{device.name} answered for another bundle, {shown(result.bundle, 80)}. Try again")
    return result


def _add_c_libraries(folder: Path) -> None:
    compiler = toolchain.compiler("aarch64")
    assert compiler is not None, "the runner was compiled with it"
    for name in _C_LIBRARIES:
        asked = [*compiler, f"-print-file-name={name}"]
        found = subprocess.run(asked, capture_output=True, text=True, encoding="utf-8").stdout.strip()
        if not Path(found).is_file():
            raise MissingDependency(f"{name} for aarch64 is not here. Run: apt-get install g++-aarch64-linux-gnu")
        shutil.copyfile(found, folder / name)
    (folder / _C_LIBRARIES[0]).chmod(0o755)
