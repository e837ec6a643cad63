"""Kills commands with SIGKILL at random moments, and looks at what is left: the promise of docs/SECURITY.md, tried.

`python -m experiments.kills --kills 200` writes results/kills.json. Moments are drawn evenly from the time that the
command took when it was left alone. After each kill nothing half-made may be offered; the same command, run again, has
to end well with the result of a run that nobody disturbed, and to leave no process and no temporary file behind.
Each command runs in a folder of its own, with its own TMPDIR and cache.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from edgekit.edge_runtime.bundle import signature
from edgekit.edge_runtime.bundle.bundle import Bundle, find_bundles
from edgekit.edge_runtime.decode import canonical_json
from edgekit.edge_runtime.errors import EdgekitError
from edgekit.edge_runtime.files import sha256_file, write_bytes
from edgekit.edge_runtime.machine.cpu import machine
from edgekit.edge_runtime.program import program
from edgekit.edge_runtime.temporary import temporary_folder

ROOT = Path(__file__).resolve().parent.parent
END_S = 30.0  # for the processes that a killed command had started
LONGEST_S = 900.0
_OWNER = "EDGEKIT_KILLS"  # in the environment of every process that belongs to one command


@dataclass(frozen=True, kw_only=True)
class Command:
    """A command that is killed, and what its result is."""

    name: str
    """As a person calls it."""
    arguments: tuple[str, ...]
    """After `edgekit`, run in a folder of its own."""
    result: Callable[[Path], object]
    """What it left in that folder, for a comparison with an undisturbed run."""
    offered: Callable[[Path], None]
    """Raises where something half-made is offered as if it were whole."""
    given: tuple[Path, ...] = ()
    """What is copied into the folder first."""


@dataclass(kw_only=True)
class Outcome:
    """What the kills of one command came to."""

    name: str
    """The command's."""
    undisturbed_s: float
    """How long it took when nobody killed it."""
    moments_s: list[float] = field(default_factory=list)
    """When it was killed, after its start."""
    ended_before: int = 0
    """How often it had ended by then."""
    faults: list[str] = field(default_factory=list)
    """What was found that should not be, with the moment."""


def kill_at_random(
    command: Command, kills: int, *, seed: int, place: Path, kills_before_rerun: int = 1, log: Callable[[str], None]
) -> Outcome:
    """Kills `command` so many times, each time after a moment drawn from `seed`.

    Args:
        place: a folder for all of it.
        kills_before_rerun: how many kills meet each other's leftovers before the command may end.
    """
    draw = random.Random(f"{command.name} {seed}")
    began = time.monotonic()
    with _folder(command, place / "undisturbed") as folder:
        _run_to_end(command, folder)
        outcome = Outcome(name=command.name, undisturbed_s=time.monotonic() - began)
        expected = command.result(folder)
        outcome.faults += [f"undisturbed: {left}" for left in _left_over(folder)]
    for first in range(0, kills, kills_before_rerun):
        with _folder(command, place / f"{command.name.replace(' ', '-')}-{first}") as folder:
            for _ in range(min(kills_before_rerun, kills - first)):
                moment = draw.uniform(0, 1.05 * outcome.undisturbed_s)
                outcome.moments_s.append(round(moment, 3))
                alive = _kill_after(command, folder, moment, outcome)
                for fault in [*alive, *_faults(lambda: command.offered(folder))]:
                    outcome.faults.append(f"after {moment:.3f} s: {fault}")
            for fault in _faults(lambda: _check_rerun(command, folder, expected)):
                outcome.faults.append(f"rerun after {moment:.3f} s: {fault}")
        log(f"{command.name}: {len(outcome.moments_s)} of {kills}, {len(outcome.faults)} faults")
    return outcome


def _check_rerun(command: Command, folder: Path, expected: object) -> None:
    _run_to_end(command, folder)
    found = command.result(folder)
    if found != expected:
        raise AssertionError(f"another result: {json.dumps(found)[:300]} instead of {json.dumps(expected)[:300]}")
    if left := _left_over(folder):
        raise AssertionError(f"left behind: {', '.join(left)}")


def _kill_after(command: Command, folder: Path, moment: float, outcome: Outcome) -> list[str]:
    """What lives on half a minute after the kill."""
    owner = uuid.uuid4().hex
    process = _start(command, folder, owner)
    try:
        process.wait(moment)
        outcome.ended_before += 1
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        process.wait()
    end = time.monotonic() + END_S
    while (alive := _processes(owner)) and time.monotonic() < end:
        time.sleep(0.05)
    for left in alive:
        left.kill()
    return [f"process {left.pid} lives on: {_words(left)}" for left in alive]


def _run_to_end(command: Command, folder: Path) -> None:
    owner = uuid.uuid4().hex
    process = _start(command, folder, owner)
    if process.wait(LONGEST_S):
        raise AssertionError(f"status {process.returncode}: {(folder / 'output').read_text()[-400:]}")
    if alive := _processes(owner):
        raise AssertionError(f"processes live on: {', '.join(map(_words, alive))}")


def _start(command: Command, folder: Path, owner: str) -> subprocess.Popen[bytes]:
    of_folder = {"TMPDIR": folder / "tmp", "XDG_CACHE_HOME": folder / "cache", _OWNER: owner, "OMP_NUM_THREADS": "1"}
    with (folder / "output").open("wb") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "edgekit", *command.arguments],
            cwd=folder / "work",
            env={**os.environ, "PYTHONPATH": str(ROOT), **{name: str(value) for name, value in of_folder.items()}},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def _processes(owner: str) -> list[psutil.Process]:
    """Those that were started by one command, whatever has become of their parents."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get(_OWNER) == owner and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def _words(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())[:200]
    except psutil.Error:
        return "ended meanwhile"


@contextlib.contextmanager
def _folder(command: Command, folder: Path) -> Iterator[Path]:
    for name in ("work", "tmp", "cache"):
        (folder / name).mkdir(parents=True)
    for given in command.given:
        if given.is_dir():
            shutil.copytree(given, folder / "work" / given.name)
        else:
            shutil.copy2(given, folder / "work" / given.name)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


# torch keeps what it compiled for the next run; that is no leftover.
_KEPT = re.compile(r"torchinductor_.*|torch_extensions")


def _left_over(folder: Path) -> list[str]:
    """Temporary files, and hidden ones beside what was made."""
    temporary = [path for path in (folder / "tmp").iterdir() if not _KEPT.fullmatch(path.name)]
    hidden = [path for part in ("work", "cache") for path in (folder / part).rglob(".*") if path.name != ".gitignore"]
    return sorted(str(path.relative_to(folder)) for path in (*temporary, *hidden))


def _faults(check: Callable[[], None]) -> list[str]:
    try:
        check()
    except (AssertionError, EdgekitError, OSError, ValueError) as error:
        return [f"{type(error).__name__}: {error}"]
    return []


def _hashes(folder: Path, *patterns: str) -> dict[str, str]:
    paths = sorted({path for pattern in patterns for path in folder.glob(pattern) if path.is_file()})
    return {str(path.relative_to(folder)): sha256_file(path) for path in paths}


def bundles_are_whole(folder: Path) -> None:
    """Whatever a folder of bundles offers can be opened, and is the whole of what was proven."""
    for path in find_bundles(folder) if folder.is_dir() else ():
        with Bundle.open(path) as bundle:
            for one in bundle.manifest.programs:
                bundle.golden(one.name)


def light_commands(bundle: Path, keys: tuple[Path, Path]) -> tuple[Command, ...]:
    """pack, sign and verify: they need no torch. `keys`: the private one, and the public one."""

    def signed(place: Path) -> bool:
        with Bundle.open(place / "work" / bundle.name, private=True) as opened:
            if opened.signed:
                signature.check(opened, keys[1])
            return opened.signed

    def packed(place: Path) -> dict[str, str]:
        return _hashes(place / "work", "*.zip")

    return (
        Command(
            name="pack",
            arguments=("pack", bundle.name, "--out", "packed.zip"),
            given=(bundle,),
            result=packed,
            offered=lambda place: bundles_are_whole(place / "work"),
        ),
        Command(
            name="sign",
            arguments=("sign", bundle.name, "--key", keys[0].name),
            given=(bundle, keys[0]),
            result=signed,
            offered=lambda place: (signed(place), bundles_are_whole(place / "work"))[1],
        ),
        Command(
            name="verify",
            arguments=("verify", bundle.name, "--attest"),
            given=(bundle,),
            result=lambda place: sorted(path.name for path in (place / "work").iterdir()),
            offered=lambda place: bundles_are_whole(place / "work"),
        ),
    )


def heavy_commands(inputs: Path) -> tuple[Command, ...]:
    """train, optimize, luna prepare and nodules evaluate, on small inputs that are made in `inputs`."""
    from edgekit.train.checkpoint import read_run, save_weights
    from edgekit.train.data.luna_store import read_index
    from edgekit.train.data.synthetic_ct import write_scans
    from edgekit.train.models.luna_classifier import LunaClassifier
    from edgekit.train.models.luna_unet import LunaUNet

    scans = inputs / "scans"
    write_scans(scans, 3, slices=40, side=96, others=6)
    save_weights(LunaUNet(), inputs / "seg.safetensors")
    save_weights(LunaClassifier(), inputs / "cls.safetensors")

    def trained(place: Path) -> dict[str, str]:
        folder = place / "work" / "runs" / "digits_cnn"
        return {"weights": read_run(folder).weights_sha256}

    def run_is_whole(place: Path) -> None:
        if (place / "work" / "runs" / "digits_cnn" / "run.json").exists():
            trained(place)

    def store_is_whole(place: Path) -> None:
        with contextlib.suppress(EdgekitError):  # none, or an unfinished one: it says so
            if read_index(place / "work" / "store").finished:
                stored = _hashes(place / "work" / "store", "*")
                assert all(stored.values())

    def evaluated(place: Path) -> dict[str, object]:
        answer = json.loads((place / "work" / "out" / "evaluation.json").read_text())
        return {key: value for key, value in answer.items() if "second" not in key}

    luna = str(scans)
    return (
        Command(
            name="train",
            arguments=("train", "digits_cnn", "--epochs", "2"),
            result=trained,
            offered=run_is_whole,
        ),
        Command(
            name="optimize",
            arguments=("optimize", "digits_cnn", "--runs", str(inputs / "runs"), "--exporter", "onnx", "--quick"),
            result=lambda place: _hashes(place / "work" / "bundles", "*/model.onnx", "*/golden.npz"),
            offered=lambda place: bundles_are_whole(place / "work" / "bundles"),
        ),
        Command(
            name="luna prepare",
            arguments=("luna", "prepare", luna, "--store", "store", "--jobs", "2"),
            result=lambda place: _hashes(place / "work" / "store", "*"),
            offered=store_is_whole,
        ),
        Command(
            name="nodules evaluate",
            arguments=(
                *("nodules", "evaluate", luna, "--out", "out", "--split", "all"),
                *("--segmenter", str(inputs / "seg.safetensors"), "--classifier", str(inputs / "cls.safetensors")),
            ),
            result=evaluated,
            offered=lambda place: None if not (place / "work/out/evaluation.json").exists() else bool(evaluated(place)),
        ),
    )


def make_keys(folder: Path) -> tuple[Path, Path]:
    """A private and a public key."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    private, pem = ec.generate_private_key(ec.SECP256R1()), serialization.Encoding.PEM
    plain, shared = serialization.NoEncryption(), serialization.PublicFormat.SubjectPublicKeyInfo
    write_bytes(folder / "key.pem", private.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))
    write_bytes(folder / "public.pem", private.public_key().public_bytes(pem, shared))
    return folder / "key.pem", folder / "public.pem"


def _edgekit(*arguments: str, cwd: Path) -> None:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-m", "edgekit", *arguments], cwd=cwd, env=environment, check=True)


def _chosen(names: str | None, commands: Sequence[Command]) -> list[Command]:
    wanted = [name.strip() for name in names.split(",")] if names else [command.name for command in commands]
    return [command for command in commands if command.name in wanted]


@program()
def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m experiments.kills", description=__doc__)
    parser.add_argument("--kills", type=int, default=200, help="of all commands together")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", help="such as pack,sign; default: all")
    parser.add_argument("--out", type=Path, default=Path("results/kills.json"))
    options = parser.parse_args()
    with temporary_folder() as place:
        inputs = place / "inputs"
        inputs.mkdir()
        # One trained model and one bundle for all: what is killed later begins from these.
        _edgekit("train", "digits_cnn", "--epochs", "2", cwd=inputs)
        _edgekit("optimize", "digits_cnn", "--exporter", "onnx", "--recipe", "fp32", "--quick", cwd=inputs)
        (bundle,) = find_bundles(inputs / "bundles")
        commands = _chosen(options.only, [*light_commands(bundle, make_keys(inputs)), *heavy_commands(inputs)])
        outcomes = []
        for i, command in enumerate(commands):
            kills = options.kills // len(commands) + (i < options.kills % len(commands))
            print(f"{command.name}: {kills} kills", flush=True)
            outcomes.append(
                kill_at_random(
                    command, kills, seed=options.seed, place=place / hashlib.md5(command.name.encode()).hexdigest(),
                    log=lambda line: print(line, flush=True),
                )
            )  # fmt: skip
    faults = sum(len(outcome.faults) for outcome in outcomes)
    result = {"seed": options.seed, "machine": machine(), "faults": faults, "commands": [vars(one) for one in outcomes]}
    write_bytes(options.out, canonical_json(result))
    for outcome in outcomes:
        for fault in outcome.faults:
            print(f"{outcome.name}: {fault}")
    print(f"{sum(len(one.moments_s) for one in outcomes)} kills, {faults} faults; {options.out}")
    if faults:
        raise EdgekitError(f"{faults} faults after kills; {options.out} has them")


if __name__ == "__main__":
    sys.exit(main())
