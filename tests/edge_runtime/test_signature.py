"""Signed by key, offline: the right key and the very files that were signed, or the bundle is refused."""

import base64
import contextlib
import json
import shutil
import subprocess
import sys

import pytest
from conftest import ROOT
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from key_pair import write_pair
from tiny_bundle import change_manifest, make_bundle, onnx_model, quarter_weights

from edgekit.edge_runtime.bundle import signature
from edgekit.edge_runtime.bundle.bundle import MAX_SIGNATURE_BYTES, Bundle
from edgekit.edge_runtime.command_line import install
from edgekit.edge_runtime.errors import BundleError, UsageError
from edgekit.edge_runtime.files import sha256_file
from edgekit.edge_runtime.owner import mark
from edgekit.edge_runtime.worker.policy import Policy
from edgekit.edge_runtime.worker.replay import replay


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    return write_pair(tmp_path_factory.mktemp("keys"), "maker")


@pytest.fixture(scope="module")
def signed_once(keys, tmp_path_factory):
    path = make_bundle(tmp_path_factory.mktemp("signed"), name="x")
    assert signature.sign(path, keys[0]) == path / "model.sig"
    return path


@pytest.fixture
def signed(signed_once, tmp_path):
    return shutil.copytree(signed_once, tmp_path / "x")


def refusal(path, public):
    """What opening with a key says; the same words whatever opens."""
    with pytest.raises(BundleError) as error:
        Policy(key=public).open(path)
    return str(error.value)


def test_the_right_key_opens_a_private_copy_and_replays(signed, keys):
    result = replay(signed, policy=Policy(key=keys[1]))
    assert (result.passed, result.signature) == (True, "good")
    with Policy(key=keys[1]).open(signed) as opened:
        assert (opened.is_private, opened.source) == (True, signed)
    assert replay(signed).signature == "not checked"


def test_the_zip_of_a_signed_bundle_is_signed_and_always_the_same(signed, keys, tmp_path):
    with Bundle.open(signed) as bundle:
        first, second = (bundle.save_zip(tmp_path / f"{i}.zip").read_bytes() for i in range(2))
    assert first == second
    with Policy(key=keys[1]).open(tmp_path / "0.zip") as opened:
        assert opened.signed


def test_a_zip_is_signed_in_place_and_again(keys, tmp_path):
    with Bundle.open(make_bundle(tmp_path, name="x")) as bundle:
        path = bundle.save_zip(tmp_path / "x.zip")
    other = write_pair(tmp_path, "other")
    for private, public in (other, keys):
        assert signature.sign(path, private) == path
        Policy(key=public).open(path).close()
    assert "was not signed for" in refusal(path, other[1])


@pytest.mark.parametrize("curve", [ec.SECP256R1, ec.SECP384R1, ec.SECP521R1])
def test_each_curve_signs(curve, tmp_path):
    path = make_bundle(tmp_path, name="x")
    private, public = write_pair(tmp_path, "k", ec.generate_private_key(curve()))
    signature.sign(path, private)
    Policy(key=public).open(path).close()


def test_a_model_exchanged_with_fitting_checksums_is_named(signed, keys):
    (signed / "model.onnx").write_bytes(onnx_model(-quarter_weights()))
    size, digest = (signed / "model.onnx").stat().st_size, sha256_file(signed / "model.onnx")
    change_manifest(signed, artifact={"bytes": size, "sha256": digest})
    Bundle.open(signed).close()  # sound in itself: only the signature tells
    assert "was changed after it was signed: manifest.json, model.onnx. Fetch" in refusal(signed, keys[1])


def test_a_better_sounding_manifest_is_named(signed, keys):
    change_manifest(signed, status="unverified")
    assert f"{signed} was changed after it was signed: manifest.json. Fetch" in refusal(signed, keys[1])


def test_another_key_is_refused(signed, tmp_path):
    _, public = write_pair(tmp_path, "other")
    assert f"{signed} was not signed for {public}, or its model.sig was changed" in refusal(signed, public)


@pytest.mark.parametrize("inside", [True, False])
def test_what_an_interrupted_signing_left_is_swept_by_the_next(keys, tmp_path, inside):
    path = make_bundle(tmp_path / "bundles", name="x")
    left = (path if inside else path.parent) / f".model.sig.4194304-17-{mark().split('-')[2]}.abcdefgh.part"
    left.write_bytes(b"half")
    if inside:
        with pytest.raises(BundleError, match="edgekit sign` was interrupted: sign the bundle again"):
            Bundle.open(path)
    signature.sign(path, keys[0])
    assert not left.exists()
    with Policy(key=keys[1]).open(path) as bundle:
        assert bundle.signed


def test_a_half_written_signature_is_no_file_of_the_bundle(tmp_path):
    path = make_bundle(tmp_path, name="x")
    assert signature._outside(path) == tmp_path


def test_an_unsigned_bundle_is_refused_with_a_key(tmp_path, keys):
    assert "is not signed: it holds no model.sig" in refusal(make_bundle(tmp_path, name="x"), keys[1])


def test_requiring_a_signature_needs_a_key():
    with pytest.raises(UsageError, match="--require-signature needs a public key"):
        Policy.asked(allow=(), key=None, require_signature=True)


def envelope(path):
    data = json.loads((path / "model.sig").read_bytes())
    return data, json.loads(base64.b64decode(data["dsseEnvelope"]["payload"]))


@pytest.mark.parametrize("at", range(0, 1600, 37))
def test_a_signature_with_a_flipped_bit_is_refused_or_means_the_same(signed, keys, at):
    raw = bytearray((signed / "model.sig").read_bytes())
    before = envelope(signed)
    raw[at % len(raw)] ^= 1
    (signed / "model.sig").write_bytes(raw)
    with contextlib.suppress(BundleError):
        Policy(key=keys[1]).open(signed).close()
        assert envelope(signed)[1] == before[1]  # unused bits of base64, or a field that says nothing of the content


def test_a_statement_that_was_rewritten_is_refused(signed, keys):
    change_manifest(signed, status="unverified")
    data, statement = envelope(signed)
    for resource in statement["predicate"]["resources"]:
        resource["digest"] = sha256_file(signed / resource["name"])
    data["dsseEnvelope"]["payload"] = base64.b64encode(json.dumps(statement).encode()).decode()
    (signed / "model.sig").write_text(json.dumps(data))
    assert "model.sig was changed" in refusal(signed, keys[1])


def test_a_signature_that_leaves_a_file_out_is_not_enough(tmp_path, keys):
    """Whoever signs with the package's own command can leave files out; then nothing is said about those."""
    import model_signing

    path = make_bundle(tmp_path, name="x")
    hashing = model_signing.hashing.Config().set_ignored_paths(paths=["model.sig", "model.onnx"])
    config = model_signing.signing.Config().use_elliptic_key_signer(private_key=keys[0]).set_hashing_config(hashing)
    config.sign(path, path / "model.sig")
    assert "the signature does not cover model.onnx" in refusal(path, keys[1])


def test_the_package_s_own_command_verifies_what_was_signed_here(signed, keys):
    command = [sys.executable, "-m", "model_signing", "verify", "key", str(signed), "--public_key", str(keys[1])]
    done = subprocess.run(
        [*command, "--signature", str(signed / "model.sig")], capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    "raw", [b"", b"{}", b"[]", b"\xff", b"[" * 9000, b'{"verificationMaterial": {"publicKey": 1}}']
)
def test_a_hostile_signature_file_is_refused(signed, keys, raw):
    (signed / "model.sig").write_bytes(raw)
    assert "model.sig was refused" in refusal(signed, keys[1])


def test_a_signature_file_that_is_too_large_is_not_read(signed, keys):
    (signed / "model.sig").write_bytes(b" " * (MAX_SIGNATURE_BYTES + 1))
    assert "model.sig has 1,048,577 bytes" in refusal(signed, keys[1])


def test_a_bundle_that_is_not_sound_is_never_signed(tmp_path, keys):
    path = make_bundle(tmp_path, name="x")
    raw = bytearray((path / "model.onnx").read_bytes())
    raw[9] ^= 1
    (path / "model.onnx").write_bytes(raw)
    with pytest.raises(BundleError, match="model.onnx was changed or damaged"):
        signature.sign(path, keys[0])
    assert not (path / "model.sig").exists()


def test_golden_answers_that_do_not_fit_are_not_signed(tmp_path, keys):
    path = change_manifest(make_bundle(tmp_path, name="x"), golden={"samples": 7})
    with pytest.raises(BundleError, match="holds 12 samples, the manifest says 7"):
        signature.sign(path, keys[0])


def test_a_bundle_that_could_change_under_the_check_is_not_checked(signed, keys):
    with Bundle.open(signed) as bundle, pytest.raises(UsageError, match="Open it with private=True"):
        signature.check(bundle, keys[1])


@pytest.mark.parametrize("kind", ["missing", "text", "rsa", "password", "curve"])
def test_a_key_that_cannot_be_used_is_named(signed, tmp_path, kind):
    private, public = tmp_path / "k.pem", tmp_path / "k.pub"
    match kind:
        case "text":
            private.write_text("no key")
            public.write_text("no key")
        case "rsa":
            write_pair(tmp_path, "k", rsa.generate_private_key(65537, 1024))
        case "curve":
            write_pair(tmp_path, "k", ec.generate_private_key(ec.SECP256K1()))
        case "password":
            key, locked = ec.generate_private_key(ec.SECP256R1()), serialization.BestAvailableEncryption(b"x")
            pem, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
            private.write_bytes(key.private_bytes(pem, form, locked))
            public.write_bytes(private.read_bytes())
    said = "cannot be read" if kind == "missing" else "To make a pair: openssl ecparam"
    with pytest.raises(UsageError, match=said):
        signature.sign(signed, private)
    with pytest.raises(UsageError, match=said):
        Policy.asked(allow=(), key=public, require_signature=False)


def test_without_the_package_the_extra_is_named_and_no_torch_is_loaded(signed, keys, tmp_path):
    forbid = "import sys\nfor name in ('model_signing', 'torch'):\n    sys.modules[name] = None\n"
    (tmp_path / "sitecustomize.py").write_text(forbid)
    arguments = ["edgekit", "verify", str(signed), "--key", str(keys[1])]
    code = f"import sys; from edgekit.cli import main; sys.argv = {arguments}; main()"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env={"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert install("sign") in done.stderr


def test_signing_and_checking_load_no_torch(signed, keys):
    code = (
        "import sys; from pathlib import Path\n"
        "from edgekit.edge_runtime.bundle import signature; from edgekit.edge_runtime.worker.policy import Policy\n"
        "bundle, private, public = map(Path, sys.argv[1:])\n"
        "signature.sign(bundle, private); Policy(key=public).open(bundle).close()\n"
        "print({'torch', 'onnxruntime', 'executorch'} & set(sys.modules))"
    )
    command = [sys.executable, "-c", code, signed, *keys]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == "set()\n", done.stderr
