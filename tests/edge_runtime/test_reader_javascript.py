"""docs/BUNDLE.md is enough: a reader in JavaScript, of under 200 lines, that opens, checks and replays each kind."""

import hashlib
import json
import random
import re
import shutil
import subprocess
from dataclasses import replace

import pytest
from conftest import ROOT
from corruptions import damaged, hostile_zips, rewrite_manifest
from hostile_content import hostile_goldens
from more_bundles import make_float_bundle, make_two_programs
from tiny_bundle import change_manifest, make_bundle

from edgekit.edge_runtime.bundle.bundle import Bundle
from edgekit.edge_runtime.errors import BundleError
from edgekit.edge_runtime.worker.replay import replay

READER = ROOT / "tests" / "readers" / "reader.mjs"
ENGINE = "onnxruntime-web@1.30.0"
KINDS = ["one", "one.zip", "two", "two.zip", "floats"]


@pytest.fixture(scope="module")
def node():
    """The node that can run the reader: it uses crc32 of node:zlib, which came with 20.15."""
    found = shutil.which("node")
    if found is None:
        pytest.skip("node is not installed")
    version = subprocess.run([found, "--version"], capture_output=True, text=True, check=True).stdout.strip()
    if tuple(int(part) for part in version.removeprefix("v").split(".")[:2]) < (20, 15):
        pytest.skip(f"node {version} is too old: the reader needs 20.15")
    return found


@pytest.fixture(scope="module")
def engine(request, node):
    """A folder with onnxruntime-web, fetched once and kept beside the other things that pytest keeps."""
    npm = shutil.which("npm")
    folder = request.config.cache.mkdir(ENGINE.replace("@", "-"))
    if (folder / "node_modules" / "onnxruntime-web" / "dist" / "ort.node.min.mjs").is_file():
        return folder
    if npm is None:
        pytest.skip("npm is not installed, so that there is no engine for the reader")
    command = [npm, "install", "--prefix", folder, "--ignore-scripts", "--no-audit", "--no-fund", ENGINE]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"npm cannot fetch {ENGINE}: {done.stderr.strip()[-200:]}")
    return folder


@pytest.fixture(scope="module")
def bundles(tmp_path_factory):
    """One bundle of each kind: one program and two, as folder and as .zip, and one that the device normalizes for."""
    folder = tmp_path_factory.mktemp("bundles")
    made = {
        path.name: path
        for path in (make_bundle(folder, name="one"), make_two_programs(folder), make_float_bundle(folder))
    }
    for name in ("one", "two"):
        with Bundle.open(made[name]) as bundle:
            made[f"{name}.zip"] = bundle.save_zip(folder / f"{name}.zip")
    return made


def read(node, path, *more):
    """What the reader says of a bundle: the parsed JSON that it printed."""
    done = subprocess.run([node, READER, path, *more], capture_output=True, text=True, timeout=120)
    found = json.loads(done.stdout)
    assert done.returncode == (1 if "error" in found else 0), done.stderr
    return found


def test_it_is_short():
    lines = READER.read_text().splitlines()
    assert len(lines) < 200
    assert max(map(len, lines)) <= 120


@pytest.mark.parametrize("kind", KINDS)
def test_it_opens_and_checks_one_of_each_kind(node, bundles, kind):
    found = read(node, bundles[kind])
    with Bundle.open(bundles[kind]) as bundle:
        assert (found["name"], found["status"]) == (bundle.name, bundle.manifest.status)


@pytest.mark.parametrize("kind", ["one.zip", "two", "floats"])
def test_it_replays_one_of_each_kind_as_python_does(node, engine, bundles, kind):
    found, ours = read(node, bundles[kind], engine)["results"], replay(bundles[kind]).outputs
    assert [(o["program"], o["output"]) for o in found] == [(o.program, o.output) for o in ours]
    for theirs, output in zip(found, ours, strict=True):
        assert (theirs["passed"], theirs["agreement"]) == (output.passed, output.agreement) == (True, 1.0)
        assert theirs["sqnr_db"] > 100
        assert theirs["max_abs"] == pytest.approx(output.max_abs, abs=1e-5)


def test_it_measures_a_wrong_program_as_python_does(node, engine, tmp_path):
    path = make_two_programs(tmp_path, decay=0.4)
    found, ours = read(node, path, engine)["results"], replay(path).outputs
    assert [output["passed"] for output in found] == [output.passed for output in ours] == [True, False, False]
    for theirs, output in zip(found[1:], ours[1:], strict=True):
        assert theirs["sqnr_db"] == pytest.approx(output.sqnr_db, abs=1e-3)
        assert theirs["agreement"] == pytest.approx(output.agreement)
        assert theirs["max_abs"] == pytest.approx(output.max_abs, abs=1e-5)


def test_every_way_of_writing_a_value_is_its_own(node, tmp_path):
    """Numbers and texts at the edges of the canonical form; the checksum alone would not need them to be understood."""
    path = make_bundle(tmp_path, name="edges")
    (metric,) = Bundle.open(path).manifest.metrics
    numbers = [
        1e-5,
        1e-4,
        1e15,
        1e16,
        123456789.125,
        5e-324,
        1.7976931348623157e308,
        -0.0,
        0.1,
        1 / 3,
        1e22,
        -2.5e-10,
        100.0,
    ]
    labels = ("\x00\x1f\x7f\x85", "\u2028\u2029", "😀\ue000", '"\\/', "\b\f\n\r\t", "é", "", "[{", "}],:")
    change_manifest(
        path,
        metrics=tuple(replace(metric, value=number, low=-number) for number in numbers),
        labels=labels,
        provenance={"\ue000": "a", "😀": "b", "Z": "c", "a": "d", "é": "e", "": "f"},
    )
    assert read(node, path)["name"] == "edges"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda raw: raw.replace(b'"sqnr_db": 10.0', b'"sqnr_db": 10.00'), "not in canonical form"),
        (lambda raw: raw.replace(b'"sqnr_db": 10.0', b'"sqnr_db": 1e+01'), "not in canonical form"),
        (lambda raw: raw.replace(b'"samples": 12,', b'"samples":  12,'), "not in canonical form"),
        (lambda raw: raw.replace(b'"quarters"', b'"\\u0071uarters"'), "not in canonical form"),
        (lambda raw: raw.replace(b"\n", b"\r\n"), "not in canonical form"),
        (lambda raw: swapped(raw, b'  "exporter": "onnx",\n', b'  "format_version": 2,\n'), "order"),
        (lambda raw: raw + b"\n", "not in canonical form"),
        (lambda raw: raw.replace(b'"quarters"', b'"eighths"'), "checksum is wrong"),
        (lambda raw: raw.replace(b'"format_version": 2', b'"format_version": 3'), "upgrade edgekit"),
        (lambda raw: b"[" * 99_999, "nested more than 16 deep"),
    ],
)  # fmt: skip
def test_what_is_not_written_as_the_page_says_is_refused_by_both(node, tmp_path, change, said):
    """With a checksum over the other lines that fits, as far as there is one."""
    path = make_bundle(tmp_path, name="x") / "manifest.json"
    raw = change(path.read_bytes())
    if "canonical" in said or said == "order":
        raw = resealed(raw)
    path.write_bytes(raw)
    with pytest.raises(BundleError):
        Bundle.open(path.parent)
    assert said in read(node, path.parent)["error"]


def swapped(raw, first, second):
    """The bytes with two neighbouring lines in the other order."""
    assert first + second in raw
    return raw.replace(first + second, second + first)


def resealed(raw):
    """The same bytes with the line of the checksum made to fit the other lines."""
    line = re.search(rb'\n  "sha256": "([0-9a-f]{64})",', raw)
    if line is None:
        return raw
    checksum = hashlib.sha256(raw.replace(line[0], b"", 1)).hexdigest().encode()
    return raw.replace(line[1], checksum, 1)


SOME_ARCHIVES = (
    "zip with '../x'",
    "zip with 'model.sig' 120777",
    "zip bomb 8",
    "zip field 20 = 0x1",
    "zip field 42 = 0x0",
)
SOME_GOLDENS = (
    "huge shape",
    "objects",
    "columns first",
    "version 2",
    "golden without targets",
    "golden with '../x.npy'",
)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_hostile_archives_and_golden_files_are_refused_by_both(node, tmp_path):
    path = make_bundle(tmp_path, name="x")
    whole = {file.name: file.read_bytes() for file in path.iterdir()}
    cases = [case for case in hostile_zips() if case[0].startswith(SOME_ARCHIVES)]
    goldens = [case for case in hostile_goldens(whole["golden.npz"]) if any(word in case[0] for word in SOME_GOLDENS)]
    refused = {}
    for name, spoil in [*cases[::2], *goldens[::5]]:
        for file, raw in whole.items():
            (path / file).write_bytes(raw)
        refused[name] = "error" in read(node, spoil(path))
    assert len(refused) >= 6
    assert {name for name, was in refused.items() if not was} == set()


def test_accidents_are_refused_as_python_refuses_them(node, tmp_path):
    path = make_two_programs(tmp_path)
    with Bundle.open(path) as bundle:
        archive = bundle.save_zip(tmp_path / "two.zip")
    whole = archive.read_bytes()
    for seed in range(8):
        archive.write_bytes(damaged(whole, random.Random(seed)))
        with pytest.raises(BundleError):
            Bundle.open(archive)
        assert "error" in read(node, archive), seed


def test_what_is_no_part_of_the_bundle_is_refused(node, tmp_path):
    path = make_bundle(tmp_path, name="x")
    (path / "weights.bin").write_bytes(b"x")
    assert read(node, path)["error"] == "weights.bin is no part of the bundle"
    (path / "weights.bin").unlink()
    rewrite_manifest(path, lambda data: data["programs"][0]["golden"].update(samples=11))
    assert read(node, path)["error"] == "targets.npy is [12]"
