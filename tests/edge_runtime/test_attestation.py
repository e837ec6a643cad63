"""Attestations lie beside a bundle and never touch it; they fit one manifest, and are signed with the same keys."""

import hashlib
import json
import random
import shutil
import subprocess
from dataclasses import replace

import pytest
from corruptions import damaged
from more_bundles import make_two_programs
from tiny_bundle import change_manifest, make_bundle
from typer.testing import CliRunner

from edgekit.cli import app
from edgekit.edge_runtime.bundle import signature
from edgekit.edge_runtime.bundle.attestation import beside, find_attestations, read_attestation
from edgekit.edge_runtime.bundle.bundle import Bundle, find_bundles
from edgekit.edge_runtime.decode import canonical_json
from edgekit.edge_runtime.errors import BundleError, UsageError
from edgekit.edge_runtime.worker.attest import attestation_of, write_attestation
from edgekit.edge_runtime.worker.replay import replay

run = CliRunner().invoke


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    """Two pairs, (private, public) each."""
    folder, made = tmp_path_factory.mktemp("keys"), []
    for name in ("mine", "other"):
        key, public = folder / f"{name}.pem", folder / f"{name}.pub"
        for command in (
            ["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", key],
            ["openssl", "ec", "-in", key, "-pubout", "-out", public],
        ):
            subprocess.run(command, check=True, capture_output=True)
        made.append((key, public))
    return made


@pytest.fixture
def attested(tmp_path):
    """A bundle, and the attestation that `edgekit verify --attest` wrote."""
    path = make_bundle(tmp_path, name="x")
    done = run(app, ["verify", str(path), "--attest"])
    assert done.exit_code == 0, done.output
    return path, tmp_path / "x.attest.json"


def files_of(path):
    return {file.name: file.read_bytes() for file in path.iterdir()}


def test_it_says_where_when_by_what_and_what_came_out(attested):
    path, file = attested
    found, result = read_attestation(file.read_bytes(), "x"), replay(path)
    assert found.manifest_sha256 == hashlib.sha256((path / "manifest.json").read_bytes()).hexdigest()
    assert found.manifest_sha256 == Bundle.open(path).sha256
    assert (found.bundle, found.passed, found.runtime.split()[0]) == ("x", True, "edgekit")
    (only,) = found.results
    assert (only.program, only.output, only.samples) == ("main", "probabilities", 12)
    assert only.engine == result.engine
    assert only.sqnr_db == pytest.approx(result.sqnr_db)
    assert found.device.processor
    assert found.when.endswith("Z")


def test_the_bundle_is_not_touched(tmp_path, keys):
    path = make_bundle(tmp_path, name="x")
    signature.sign(path, keys[0][0])
    before = files_of(path)
    assert run(app, ["verify", str(path), "--attest"]).exit_code == 0
    assert run(app, ["sign", str(tmp_path / "x.attest.json"), "--key", str(keys[0][0])]).exit_code == 0
    assert files_of(path) == before
    assert find_bundles(tmp_path) == [path]


def test_a_zip_has_its_attestation_beside_it_as_well(tmp_path):
    with Bundle.open(make_bundle(tmp_path, name="x")) as bundle:
        packed = bundle.save_zip(tmp_path / "y.zip")
    assert run(app, ["verify", str(packed), "--attest"]).exit_code == 0
    assert [one.unfit for one in find_attestations(packed, Bundle.open(packed).sha256)] == [""]
    assert (tmp_path / "y.attest.json").is_file()
    # The folder's attestation would be the same: its manifest is.
    (tmp_path / "x.attest.json").write_bytes((tmp_path / "y.attest.json").read_bytes())
    assert [one.unfit for one in find_attestations(tmp_path / "x", Bundle.open(tmp_path / "x").sha256)] == [""]


def test_each_output_of_each_program_is_in_it(tmp_path):
    path = make_two_programs(tmp_path)
    run(app, ["verify", str(path), "--attest"])
    found = read_attestation((tmp_path / "two.attest.json").read_bytes(), "two")
    assert [(r.program, r.output) for r in found.results] == [
        ("encoder", "features"),
        ("step", "answer"),
        ("step", "next_state"),
    ]


def test_what_fails_is_attested_as_failed(tmp_path):
    path = make_two_programs(tmp_path, decay=0.4)
    assert run(app, ["verify", str(path), "--attest"]).exit_code == 1
    found = read_attestation((tmp_path / "two.attest.json").read_bytes(), "two")
    assert (found.passed, [result.passed for result in found.results]) == (False, [True, False, False])
    assert "MISSED" in run(app, ["inspect", str(path)]).stdout


def test_a_bundle_of_format_1_is_attested_too(tmp_path):
    path = make_bundle(tmp_path, name="x", format_version=1)
    run(app, ["verify", str(path), "--attest"])
    (one,) = find_attestations(path, Bundle.open(path).sha256)
    assert (one.unfit, one.attestation.results[0].output) == ("", "")


def test_inspect_shows_it_and_whether_it_fits(attested):
    path, file = attested
    said = run(app, ["inspect", str(path)]).stdout
    assert "attested  ✓" in said
    assert "by onnxruntime" in said
    assert "(not signed; x.attest.json)" in said
    (found,) = json.loads(run(app, ["inspect", str(path), "--json"]).stdout)["attestations"]
    assert (found["fits"], found["signature"], found["attestation"]["passed"]) == (True, "none", True)
    change_manifest(path, provenance={"data": "other"})
    said = run(app, ["inspect", str(path)]).stdout
    assert "attested  ✗ x.attest.json: it belongs to another bundle, or to this one before it was changed" in said
    assert file.is_file()


def test_the_same_device_replaces_its_own_and_another_adds_one(attested):
    path, file = attested
    with Bundle.open(path) as bundle:
        made = attestation_of(bundle, replay(path))
        assert write_attestation(path, bundle, made) == file
        phone = replace(made, device=replace(made.device, processor="a phone"))
        assert write_attestation(path, bundle, phone).name == "x.2.attest.json"
        assert write_attestation(path, bundle, phone).name == "x.2.attest.json"
        board = replace(made, device=replace(made.device, system="a board"))
        assert write_attestation(path, bundle, board).name == "x.3.attest.json"
        found = find_attestations(path, bundle.sha256)
    assert [one.path.name for one in found] == ["x.2.attest.json", "x.3.attest.json", "x.attest.json"]
    assert {one.attestation.device.processor for one in found} >= {"a phone"}


def test_one_that_fits_no_more_is_replaced(attested):
    path, file = attested
    change_manifest(path, provenance={"data": "other"})
    run(app, ["verify", str(path), "--attest"])
    (one,) = find_attestations(path, Bundle.open(path).sha256)
    assert (one.path, one.unfit) == (file, "")


def test_others_files_beside_are_left_alone(attested):
    path, file = attested
    for name in ("xx.attest.json", "x.attest.json.txt", "x.two.attest.json", "y.attest.json"):
        shutil.copyfile(file, file.with_name(name))
    assert [one.path for one in find_attestations(path, Bundle.open(path).sha256)] == [file]


def test_a_signature_is_checked_with_the_key_and_of_no_other_file(attested, keys):
    path, file = attested
    signature.sign(path, keys[0][0])
    written = signature.sign_attestation(file, keys[0][0])
    assert written.name == "x.attest.sig"
    assert signature.check_attestation(file, keys[0][1]) is None
    said = run(app, ["inspect", str(path), "--key", str(keys[0][1])]).stdout
    assert "(signature is good; x.attest.json)" in said
    assert "signature  good" in said
    assert "(signed; check it with --key; x.attest.json)" in run(app, ["inspect", str(path)]).stdout
    with pytest.raises(BundleError, match=r"x\.attest\.sig is not a signature of x\.attest\.json for .*other\.pub"):
        signature.check_attestation(file, keys[1][1])


def test_a_changed_attestation_has_no_good_signature(attested, keys):
    _, file = attested
    signature.sign_attestation(file, keys[0][0])
    made = read_attestation(file.read_bytes(), "x")
    file.write_bytes(replace(made, device=replace(made.device, processor="a faster one")).to_bytes())
    with pytest.raises(BundleError, match="is not a signature of"):
        signature.check_attestation(file, keys[0][1])


def test_a_renamed_attestation_keeps_its_signature(attested, keys, tmp_path):
    _, file = attested
    signature.sign_attestation(file, keys[0][0])
    (tmp_path / "elsewhere").mkdir()
    for old, new in (("x.attest.json", "z.4.attest.json"), ("x.attest.sig", "z.4.attest.sig")):
        (tmp_path / old).rename(tmp_path / "elsewhere" / new)
    assert signature.check_attestation(tmp_path / "elsewhere" / "z.4.attest.json", keys[0][1]) is None


def test_a_damaged_attestation_is_not_signed(attested, keys):
    _, file = attested
    file.write_bytes(file.read_bytes().replace(b"x86", b"x87").replace(b"true", b"false", 1))
    with pytest.raises(BundleError, match="its checksum does not match"):
        signature.sign_attestation(file, keys[0][0])


PLAIN = {"attestation_version": 1}


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"", "not valid JSON"),
        (b"[]", "not a JSON object"),
        (b"[" * 99_999, "nested more than 16 deep"),
        (b" " * ((4 << 20) + 1), "more than 4,194,304 bytes"),
        (canonical_json({"attestation_version": 2, "sha256": "0"}), "Upgrade edgekit"),
        (canonical_json({"attestation_version": True, "sha256": "0"}), "attestation_version should be 1"),
        (canonical_json({"format_version": 2}), "attestation_version should be 1"),
        (canonical_json(PLAIN | {"sha256": "0" * 64}), "its checksum does not match"),
    ],
)
def test_what_is_none_is_refused(raw, said):
    with pytest.raises(BundleError) as error:
        read_attestation(raw, "x.attest.json")
    assert said in str(error.value)
    assert len(str(error.value)) < 400


def test_damaged_ones_never_stop_inspect(attested):
    """Two hundred accidents: each is shown as one that says nothing, or is what it was."""
    path, file = attested
    whole, sha256 = file.read_bytes(), Bundle.open(path).sha256
    for seed in range(200):
        file.write_bytes(damaged(whole, random.Random(seed)))
        (one,) = find_attestations(path, sha256)
        assert (one.attestation, len(one.unfit) < 400, one.unfit != "") == (None, True, True)
    file.unlink()
    file.symlink_to(path / "manifest.json")
    (one,) = find_attestations(path, sha256)
    assert one.unfit.endswith("is not a plain file")


def test_a_folder_that_cannot_be_written_to_is_named(attested):
    path, file = attested
    file.unlink()
    file.mkdir()
    (file / "in the way").touch()
    with Bundle.open(path) as bundle, pytest.raises(UsageError, match=r"x\.attest\.json cannot be written"):
        write_attestation(path, bundle, attestation_of(bundle, replay(path)))


def test_the_place_beside_a_bundle_is_found_however_it_is_called(tmp_path, monkeypatch):
    path = make_bundle(tmp_path, name="my.zip")  # a folder of that name
    assert beside(path) == tmp_path / "my.zip.attest.json"
    monkeypatch.chdir(path)
    assert beside(".") == tmp_path / "my.zip.attest.json"
    assert beside(tmp_path / "other.zip") == tmp_path / "other.attest.json"


@pytest.mark.parametrize(
    ("when", "fits"),
    [
        ("2028-02-29T23:59:59Z", True),
        ("2027-02-29T23:59:59Z", False),
        ("2027-02-28T24:59:59Z", False),
        ("٢٠٢٦-11-28T15:26:00Z", False),
        ("2026-11-28T15:26:00Z\n", False),
    ],
)
def test_the_moment_is_one_that_there_is(attested, when, fits):
    found = read_attestation(attested[1].read_bytes(), "x")
    if fits:
        assert replace(found, when=when).when == when
        return
    with pytest.raises(ValueError, match="when should be a time in UTC"):
        replace(found, when=when)
