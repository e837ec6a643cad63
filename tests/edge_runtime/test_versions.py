"""A file that the installed engine cannot take is refused before that engine sees it, with both versions named."""

import importlib.metadata
import subprocess
import sys
from dataclasses import replace

import onnx
import pytest
from conftest import ROOT
from test_manifest import MANIFEST, PROGRAM
from tiny_bundle import change_manifest, make_bundle, onnx_model, quarter_weights

from edgekit.edge_runtime import engines
from edgekit.edge_runtime.bundle import versions
from edgekit.edge_runtime.bundle.bundle import Bundle
from edgekit.edge_runtime.errors import BundleError
from edgekit.edge_runtime.worker.replay import replay

EXECUTORCH, TORCH, ONNXRUNTIME = map(importlib.metadata.version, ("executorch", "torch", "onnxruntime"))


def made_with(format, **tools):
    """A bundle that says of itself only what made it, as those of format 1 do."""
    program = replace(PROGRAM, artifact=replace(PROGRAM.artifact, format=format), requires={}, features={})
    return replace(MANIFEST, programs=(program,), tools=tools)


def needing(format, **requires):
    """A bundle that names the versions it needs; what made it does not count then."""
    made = made_with(format, executorch="0.1", torch="0.1", onnxruntime="0.1")
    return replace(made, programs=(replace(made.program(), requires=requires),))


def check(manifest, path=ROOT / "README.md"):
    return versions.check(manifest, path)


def later(version, part):
    """The version with one of its numbers one higher."""
    numbers = list(versions.release(version))
    numbers[part] += 1
    return ".".join(map(str, numbers))


@pytest.mark.parametrize("part", [0, 1, 2])
def test_a_program_of_a_newer_executorch_is_refused(part):
    newer = later(EXECUTORCH, part)
    with pytest.raises(BundleError) as error:
        check(made_with("executorch", executorch=newer))
    assert f"made with ExecuTorch {newer}; the installed executorch {EXECUTORCH} is older" in str(error.value)
    assert f"pip install 'executorch=={newer}'" in str(error.value)


@pytest.mark.parametrize("version", ["0.4", "1.0.0", EXECUTORCH, f"{EXECUTORCH}+cpu", f"{EXECUTORCH}.dev20260101"])
def test_a_program_of_the_same_or_an_older_executorch_is_taken(version):
    assert check(made_with("executorch", executorch=version)) == ()


@pytest.mark.parametrize("version", ["", "new", "9'; rm -rf ~ #", "9" * 5000, "9.9\n", "²"])
def test_a_version_that_is_none_never_reaches_a_command(version):
    (note,) = check(made_with("executorch", executorch=version))
    assert note == f"{MANIFEST.name} does not say which ExecuTorch made it; executorch {EXECUTORCH} is installed"


def test_torchscript_of_a_newer_minor_torch_is_refused_and_of_a_newer_patch_taken():
    with pytest.raises(BundleError, match=f"made with torch {later(TORCH, 1)}; the installed torch"):
        check(made_with("torchscript", torch=later(TORCH, 1)))
    assert check(made_with("torchscript", torch=f"{later(TORCH, 2)}+cu130")) == ()
    assert "does not say which torch" in check(made_with("torchscript"))[0]
    with pytest.raises(BundleError, match=f"made with torch {later(TORCH, 1)}; the installed torch"):
        check(made_with("torch_export", torch=later(TORCH, 1)))


@pytest.mark.parametrize("version", ["1.0.0", later(TORCH, 2), ""])
def test_aot_runs_with_exactly_the_torch_it_was_compiled_against(version):
    with pytest.raises(BundleError, match=r"was compiled against torch .* runs with just that one; torch \d"):
        check(made_with("aot", torch=version))
    assert check(made_with("aot", torch=TORCH)) == ()


def test_an_older_onnxruntime_than_the_one_of_the_proof_is_only_said(tmp_path):
    path = change_manifest(make_bundle(tmp_path, name="x"), tools={"onnxruntime": later(ONNXRUNTIME, 1)})
    said = f"x was proven on onnxruntime {later(ONNXRUNTIME, 1)}; the older {ONNXRUNTIME} is installed"
    assert replay(path).notes == (said,)
    with pytest.warns(RuntimeWarning, match=said), engines.load(Bundle.open(path)):
        pass
    change_manifest(path, tools={"onnxruntime": later(ONNXRUNTIME, 2)})
    assert versions.check(Bundle.open(path).manifest, path / "model.onnx") == ()


def onnx_bundle(folder, *, ir=10, opset=17):
    """A bundle of a model stamped with these versions, hashes and all."""
    model = onnx.load_from_string(onnx_model(quarter_weights()))
    model.ir_version, model.opset_import[0].version = ir, opset
    model.opset_import.add(domain="org.example", version=99)
    return make_bundle(folder, name=f"ir{ir}-opset{opset}", model_bytes=model.SerializeToString())


@pytest.mark.parametrize(("ir", "opset", "said"), [(15, 17, "ONNX IR version 15"), (10, 29, "ONNX opset 29")])
def test_onnx_versions_beyond_the_installed_onnxruntime_are_refused(tmp_path, ir, opset, said):
    with pytest.raises(BundleError, match=f"has {said}; the installed onnxruntime {ONNXRUNTIME} reads up to"):
        engines.load(Bundle.open(onnx_bundle(tmp_path, ir=ir, opset=opset)))


def test_the_limits_are_what_the_installed_onnxruntime_really_takes(tmp_path):
    """So that a new onnxruntime cannot be installed without its line in the table."""
    ir, opset = versions._onnx_limits(versions.release(ONNXRUNTIME)[:2])
    assert replay(onnx_bundle(tmp_path, ir=ir, opset=opset)).passed
    import onnxruntime

    for beyond in ({"ir": ir + 1}, {"opset": opset + 1}):
        with pytest.raises(Exception, match="ONNXRuntimeError"):
            onnxruntime.InferenceSession(onnx_bundle(tmp_path, **beyond) / "model.onnx")


# A protobuf field of 2^62, 2^63 and 2^70 - 1 bytes: numbers that no file position can be.
LONG_LENGTHS = [
    b"\x08\x0a\x42" + b"\x80" * 8 + b"\x40",
    b"\x08\x0a\x42" + b"\x80" * 9 + b"\x01",
    b"\x08\x0a\x42" + b"\xff" * 9 + b"\x7f",
]


@pytest.mark.parametrize(
    "raw", [b"", b"\x08", b"\xff" * 99, b"\x08\x0a\x42\xff\xff\xff\xff\x0f", b"no model at all", *LONG_LENGTHS]
)
def test_what_is_no_onnx_file_is_left_to_the_engine(tmp_path, raw):
    (tmp_path / "x").write_bytes(raw)
    ir, opset = versions.onnx_versions(tmp_path / "x")
    assert (ir in (0, 10), opset) == (True, 0)


def test_nothing_is_imported_to_find_out():
    code = (
        "import sys; from pathlib import Path; from edgekit.edge_runtime.bundle import versions; "
        "print(versions.installed_version('torch'), *({'torch', 'executorch', 'onnxruntime'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.split() == [TORCH], done.stderr


def test_a_packed_bundle_names_what_its_format_needs(quickstart):
    for name, tool in (
        ("onnx-fp32", "onnxruntime"),
        ("executorch_xnnpack-fp32", "executorch"),
        ("torchscript_traced-fp32", "torch"),
    ):
        assert importlib.metadata.version(tool) == Bundle.open(quickstart.bundle(name)).manifest.tools[tool]


def test_a_bundle_that_needs_a_newer_engine_is_refused_whatever_made_it():
    with pytest.raises(BundleError, match=f"made with ExecuTorch {later(EXECUTORCH, 2)}; the installed"):
        check(needing("executorch", executorch=later(EXECUTORCH, 2)))
    with pytest.raises(BundleError, match=f"made with torch {later(TORCH, 1)}; the installed"):
        check(needing("torchscript", torch=later(TORCH, 1)))
    with pytest.raises(BundleError, match=r"needs onnxruntime 9\.1 or newer; .* pip install 'onnxruntime>=9\.1'"):
        check(needing("onnx", onnxruntime="9.1"))
    for format, package, version in (
        ("executorch", "executorch", EXECUTORCH),
        ("torchscript", "torch", ".".join(TORCH.split(".")[:2])),
        ("onnx", "onnxruntime", "1.15"),
    ):
        assert check(needing(format, **{package: version})) == ()


@pytest.mark.parametrize(
    ("ir", "opset", "lowest"),
    [
        (8, 17, "1.15"),
        (9, 19, "1.15"),
        (9, 20, "1.17"),
        (10, 17, "1.18"),
        (10, 22, "1.21"),
        (12, 24, "1.24"),
        (14, 28, "1.32"),
    ],
)
def test_the_lowest_onnxruntime_follows_from_ir_version_and_opset(tmp_path, ir, opset, lowest):
    path = onnx_bundle(tmp_path, ir=ir, opset=opset) / "model.onnx"
    requires, features = versions.requirements("onnx", path, {"onnxruntime": ONNXRUNTIME})
    assert (requires, features) == (
        {"onnxruntime": lowest},
        {"onnx_ir_version": str(ir), "onnx_opset": str(opset)},
    )


def test_what_no_release_was_seen_to_take_requires_none(tmp_path):
    path = onnx_bundle(tmp_path, ir=15, opset=17) / "model.onnx"
    assert versions.requirements("onnx", path, {})[0] == {}


def test_what_made_the_other_formats_is_what_they_need(tmp_path):
    tools = {"executorch": "1.5.1", "torch": "2.14.1+cpu"}
    found = {
        format: versions.requirements(format, tmp_path, tools)[0]
        for format in versions.ENGINE_PACKAGES
        if format != "onnx"
    }
    assert found == {
        "executorch": {"executorch": "1.5.1"},
        "torchscript": {"torch": "2.14"},
        "aot": {"torch": "2.14.1"},
        "torch_export": {"torch": "2.14"},
    }
    assert versions.requirements("executorch", tmp_path, {}) == ({}, {})


def test_releases_between_those_that_were_tried_take_what_the_one_before_takes():
    assert versions._onnx_limits((1, 16)) == versions._onnx_limits((1, 15)) == (9, 19)
    assert versions._onnx_limits((1, 31)) == (13, 26)
    assert versions._onnx_limits((1, 14)) is None
    assert versions._onnx_limits((1, 33)) is None
