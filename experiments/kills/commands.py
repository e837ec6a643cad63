"""The commands that are killed, on small inputs, and what a whole result of each is."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

from edgekit.edge_runtime.bundle import signature
from edgekit.edge_runtime.bundle.bundle import Bundle, find_bundles
from edgekit.edge_runtime.errors import EdgekitError
from edgekit.edge_runtime.files import sha256_file, write_bytes

from .killing import Command


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

    def signed_or_not(place: Path) -> None:
        signed(place)
        bundles_are_whole(place / "work")

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
            offered=signed_or_not,
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
        answer = json.loads((place / "work" / "out" / "evaluation.json").read_text(encoding="utf-8"))
        # The repository may move on between two runs.
        return {key: value for key, value in answer.items() if "second" not in key and key != "commit"}

    def evaluation_is_whole(place: Path) -> None:
        if (place / "work" / "out" / "evaluation.json").exists():
            evaluated(place)

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
            offered=evaluation_is_whole,
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
