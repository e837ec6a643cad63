"""Who made a bundle: signatures by key, as OpenSSF Model Signing makes them, in the file `model.sig`.

The package `model-signing` signs and verifies (a Sigstore bundle with an in-toto statement of each file's SHA-256;
https://github.com/sigstore/model-transparency). Added here: only undamaged bundles are signed, the signature must
cover every file of the bundle, and a private copy is verified. No network, no torch; nothing here runs a model.
"""

from __future__ import annotations

import base64
import contextlib
import io
import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..command_line import EDGEKIT, install
from ..errors import BundleError, MissingDependency, UsageError, shown
from ..files import copy_plain, read_plain, sha256_file, write_bytes
from ..owner import sweep
from ..temporary import temporary_folder
from .attestation import read_attestation, signature_path
from .bundle import Bundle
from .limits import MAX_MANIFEST_BYTES, MAX_SIGNATURE_BYTES
from .names import MANIFEST_FILE, SIGNATURE_FILE

MAX_KEY_BYTES = 65_536
MAKE_KEYS = (
    "openssl ecparam -name prime256v1 -genkey -noout -out key.pem; openssl ec -in key.pem -pubout -out public.pem"
)
ATTESTATION_FILE = "attestation.json"  # what a signed attestation is called in the statement, whatever its own name
_PREDICATE = "https://model_signing/signature/v1.0"


def sign(path: str | Path, private_key: Path) -> Path:
    """Signs an undamaged bundle: writes `model.sig` into its folder, or into its `.zip`. Replaces an older one.

    Args:
        private_key: EC key (P-256, P-384 or P-521) in PEM, without a password.
    Returns:
        the file written: `model.sig`, or the `.zip`.
    Raises:
        BundleError: the bundle is damaged, or its golden file does not fit; it is then not signed.
        UsageError: the key cannot be read or is of another kind.
        MissingDependency: model-signing is not installed.
    """
    sweep(Path(path))  # a killed run's leftovers would count as files that no checksum covers
    with Bundle.open(path, private=True) as bundle, temporary_folder() as temporary:
        for program in bundle.manifest.programs:
            bundle.golden(program.name)
        # The folder's name becomes the statement's subject, so it is the bundle's and not a random one.
        folder = temporary / bundle.name
        folder.mkdir()
        for name in _covered(bundle):
            shutil.copyfile(bundle.folder / name, folder / name)
        signature = _sign_folder(folder, private_key)
        if bundle.source.is_dir():
            target = bundle.source / SIGNATURE_FILE
            write_bytes(target, signature, beside=_outside(bundle.source))
        else:
            target = bundle.source
            write_bytes(bundle.folder / SIGNATURE_FILE, signature)
            bundle.save_zip(target)
    return target


def sign_attestation(path: Path, private_key: Path) -> Path:
    """Signs an undamaged attestation: writes `NAME.attest.sig` beside it. Replaces an older one.

    Returns:
        the file written.
    Raises:
        BundleError: it is damaged, or not an attestation.
        UsageError: the key cannot be read or is of another kind.
        MissingDependency: model-signing is not installed.
    """
    with _attestation_alone(path) as folder:
        signature = _sign_folder(folder, private_key)
    write_bytes(signature_path(path), signature)
    return signature_path(path)


def check_attestation(path: Path, public_key: Path) -> None:
    """Returns when `NAME.attest.sig` was made with the private key of `public_key` over exactly this attestation.

    Raises:
        BundleError: no signature, a damaged one, one for another key, or another attestation.
        UsageError: the key cannot be read.
        MissingDependency: model-signing is not installed.
    """
    config, signed = _verifier(public_key), signature_path(path)
    with _attestation_alone(path) as folder:
        try:
            copy_plain(signed, folder / SIGNATURE_FILE, most_bytes=MAX_SIGNATURE_BYTES)
            with _quiet():
                config.set_hashing_config(_hashing()).verify(folder, folder / SIGNATURE_FILE)
            covered = _files_signed(folder / SIGNATURE_FILE)
        except Exception as error:  # a hostile signature makes its parsers raise a dozen kinds
            reason = shown(error, 200)
            raise BundleError(f"{signed} is not a signature of {path.name} for {public_key}: {reason}") from None
    if ATTESTATION_FILE not in covered:
        raise BundleError(f"{signed} does not cover {path.name}. Sign the attestation again")


@contextlib.contextmanager
def _attestation_alone(path: Path) -> Iterator[Path]:
    """A folder with only a copy of an undamaged attestation, always under the same name."""
    with temporary_folder() as temporary:
        copy = temporary / "copy"
        try:
            copy_plain(path, copy, most_bytes=MAX_MANIFEST_BYTES)
        except OSError as error:
            raise BundleError(f"{path} cannot be read: {error.strerror or error}") from None
        # The folder's name becomes the statement's subject, so it is the bundle's and not a random one.
        folder = temporary / "folder" / read_attestation(copy.read_bytes(), str(path)).bundle
        folder.mkdir(parents=True)
        copy.rename(folder / ATTESTATION_FILE)
        yield folder


def _outside(folder: Path) -> Path | None:
    """Where a half-written signature is no file of the bundle: beside its folder, if that is on the same disk."""
    parent = folder.resolve().parent
    return parent if os.access(parent, os.W_OK) and parent.stat().st_dev == folder.stat().st_dev else None


def _sign_folder(folder: Path, private_key: Path) -> bytes:
    _signer(private_key).set_hashing_config(_hashing()).sign(folder, folder / SIGNATURE_FILE)
    return (folder / SIGNATURE_FILE).read_bytes()


def check_key(public_key: Path) -> None:
    """Returns when signatures can be checked with this key. Raises UsageError, MissingDependency."""
    _verifier(public_key)


def check(bundle: Bundle, public_key: Path) -> None:
    """Returns when `model.sig` was made with the private key of `public_key` over exactly these files.

    Args:
        bundle: a private one (`Bundle.open(path, private=True)`), so that its files stay what they are now.
    Raises:
        BundleError: no signature, a damaged one, one for another key, or files that are not those signed.
        UsageError: the key cannot be read, or the bundle is not private.
        MissingDependency: model-signing is not installed.
    """
    if not bundle.is_private:
        raise UsageError(f"{bundle.source} can be changed after the check. Open it with private=True")
    if not bundle.signed:
        raise BundleError(
            f"{bundle.source} is not signed: it holds no {SIGNATURE_FILE}. Its maker signs with `{EDGEKIT} sign`"
        )
    config = _verifier(public_key)
    try:
        with _quiet():
            config.set_hashing_config(_hashing()).verify(bundle.folder, bundle.folder / SIGNATURE_FILE)
        covered = _files_signed(bundle.folder / SIGNATURE_FILE)
    except Exception as error:  # a hostile signature makes its parsers raise a dozen kinds
        raise _refused(bundle, public_key, error) from None
    missing = [name for name in _covered(bundle) if name not in covered]
    if missing:
        raise BundleError(f"{bundle.source}: the signature does not cover {', '.join(missing)}. Sign the bundle again")


def _covered(bundle: Bundle) -> tuple[str, ...]:
    return MANIFEST_FILE, *(entry.file for entry in bundle.manifest.files)


def _files_signed(path: Path) -> dict[str, str]:
    """SHA-256 by name, of a statement whose signature was verified; raises when it is of no form that names files."""
    statement = json.loads(base64.b64decode(json.loads(path.read_bytes())["dsseEnvelope"]["payload"]))
    if statement["predicateType"] != _PREDICATE or statement["predicate"]["serialization"]["method"] != "files":
        raise ValueError("it is of an old or unknown kind")
    return {resource["name"]: resource["digest"] for resource in statement["predicate"]["resources"]}


def _refused(bundle: Bundle, public_key: Path, error: Exception) -> BundleError:
    said = str(error)
    if said.startswith("Signature mismatch"):  # so the statement itself was good
        return BundleError(
            f"{bundle.source} was changed after it was signed: {_changed(bundle)}. Fetch the bundle again"
        )
    if said.startswith("Key mismatch") or type(error).__name__ == "InvalidSignature":
        return BundleError(
            f"{bundle.source} was not signed for {public_key}, or its {SIGNATURE_FILE} was changed. "
            "Use its maker's public key, or fetch the bundle again"
        )
    reason = re.sub(r"\s+", " ", said)[:200] or type(error).__name__
    return BundleError(f"{bundle.source}: {SIGNATURE_FILE} was refused: {reason}. Fetch the bundle again")


def _changed(bundle: Bundle) -> str:
    try:
        signed = _files_signed(bundle.folder / SIGNATURE_FILE)
    except (KeyError, TypeError, ValueError):
        return "its signature is of another form"
    return ", ".join(name for name in _covered(bundle) if signed.get(name) != sha256_file(bundle.folder / name))


def _hashing() -> Any:
    from model_signing import hashing

    # Git's files are no exception here: a bundle has none.
    config = hashing.Config().use_file_serialization(hashing_algorithm="sha256", allow_symlinks=False)
    return config.set_ignored_paths(paths=[SIGNATURE_FILE], ignore_git_paths=False)


def _signer(private_key: Path) -> Any:
    with _readable(private_key, "private"):
        read_plain(private_key, most_bytes=MAX_KEY_BYTES)
        from model_signing import signing

        return signing.Config().use_elliptic_key_signer(private_key=private_key)


def _verifier(public_key: Path) -> Any:
    with _readable(public_key, "public"):
        read_plain(public_key, most_bytes=MAX_KEY_BYTES)
        from model_signing import verifying

        return verifying.Config().use_elliptic_key_verifier(public_key=public_key)


@contextlib.contextmanager
def _readable(key: Path, kind: str) -> Iterator[None]:
    try:
        yield
    except ModuleNotFoundError as error:
        raise MissingDependency(
            f"signatures need {error.name}, which is not installed. Run: {install('sign')}"
        ) from None
    except OSError as error:
        raise UsageError(f"{key} cannot be read: {error.strerror or error}. Check the path of the {kind} key") from None
    except Exception:  # TypeError for a password, AttributeError for RSA, ValueError for no PEM at all
        raise UsageError(
            f"{key} is not an EC {kind} key in PEM without a password (P-256, P-384 or P-521). "
            f"To make a pair: {MAKE_KEYS}"
        ) from None


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    # The package prints advice to stdout, where a machine may be reading JSON.
    with contextlib.redirect_stdout(io.StringIO()):
        yield
