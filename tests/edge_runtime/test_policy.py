"""Files that run code are loaded only when asked for by name, and nothing is loaded that no checksum covers."""

import os
import shutil
from contextlib import ExitStack

import numpy as np
import onnx
import pytest
from tiny_bundle import change_manifest, make_bundle, onnx_model, quarter_weights

from edgekit.cli import bundles
from edgekit.cli.inspect import inspect
from edgekit.edge_runtime import engines
from edgekit.edge_runtime.bundle.bundle import Bundle
from edgekit.edge_runtime.engines import RUNS_CODE
from edgekit.edge_runtime.errors import BundleError, RunsCode, UsageError
from edgekit.edge_runtime.files import sha256_file
from edgekit.edge_runtime.worker.parent import Worker
from edgekit.edge_runtime.worker.policy import NO_CODE, Policy
from edgekit.edge_runtime.worker.replay import replay


@pytest.fixture
def bundle(tmp_path):
    return make_bundle(tmp_path, name="x")


@pytest.mark.parametrize("format", RUNS_CODE)
def test_a_format_that_runs_code_is_refused_by_everything_that_loads(bundle, format):
    change_manifest(bundle, artifact={"format": format})
    for load in (NO_CODE.open, replay, lambda path: engines.load(Bundle.open(path)), load_in_worker):
        with pytest.raises(BundleError) as error:
            load(bundle)
        assert f"{bundle} has the format '{format}'" in str(error.value)
        assert f"add --allow {format}" in str(error.value)


@pytest.fixture
def mixed(tmp_path):
    """A folder with a bundle that runs code and one that does not."""
    change_manifest(make_bundle(tmp_path, name="codes"), artifact={"format": "torchscript"})
    make_bundle(tmp_path, name="plain")
    return tmp_path


def test_one_of_a_folder_that_runs_code_is_not_loaded_rather_than_refused(mixed, capsys):
    assert not bundles.verify([mixed], as_json=False)
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith(f"not loaded {mixed / 'codes'} has the format 'torchscript': loading it runs code")
    assert second.startswith("✓ plain")


def test_what_measures_a_folder_leaves_it_out_but_not_where_it_was_asked_for_by_name(mixed, capsys):
    with ExitStack() as opened:
        assert [bundle.name for bundle in bundles.open_all([mixed], NO_CODE, opened)] == ["plain"]
        assert f"not loaded {mixed / 'codes'} has" in capsys.readouterr().err
        for paths in ([mixed / "codes"], [mixed, mixed / "codes"]):
            with pytest.raises(RunsCode, match="add --allow torchscript"):
                bundles.open_all(paths, NO_CODE, opened)


def test_a_folder_of_nothing_else_is_an_error(mixed):
    shutil.rmtree(mixed / "plain")
    with ExitStack() as opened, pytest.raises(RunsCode, match="loading it runs code"):
        bundles.open_all([mixed.parent / mixed.name], NO_CODE, opened)


def load_in_worker(path):
    with Worker.for_bundle(path) as worker:
        worker.load()


def test_one_format_that_is_allowed_does_not_allow_another(bundle):
    change_manifest(bundle, artifact={"format": "torchscript"})
    with pytest.raises(BundleError, match="--allow torchscript"):
        Policy(allow=("aot",)).open(bundle)
    with Policy(allow=("torchscript",)).open(bundle) as opened:
        assert opened.manifest.artifact.format == "torchscript"


def test_only_formats_that_run_code_can_be_allowed(bundle):
    for ask in (
        lambda: Policy.asked(allow=("onnx",), key=None, require_signature=False),
        lambda: engines.load(Bundle.open(bundle), allow=("onnx",)),
    ):
        with pytest.raises(UsageError, match="unknown format to allow 'onnx'. Known: aot, torch_export, torchscript"):
            ask()


def test_a_format_without_an_engine_names_the_known_ones(bundle):
    change_manifest(bundle, artifact={"format": "tflite"})
    with pytest.raises(
        BundleError,
        match=r"x has the format 'tflite', .* Known: aot, executorch, onnx, torch_export, torchscript\. U",
    ):
        replay(bundle)


def test_weights_beside_the_model_that_no_checksum_covers_are_never_read(bundle):
    """onnxruntime reads external weights from any file in the model's folder; these say "top left" to everything."""
    model = onnx.load_from_string(onnx_model(quarter_weights()))
    weights = next(tensor for tensor in model.graph.initializer if tensor.name == "weights")
    weights.ClearField("raw_data")
    weights.data_location = onnx.TensorProto.EXTERNAL
    weights.external_data.add(key="location", value="other.bin")
    (bundle / "other.bin").write_bytes(np.eye(64, 4, dtype=np.float32).tobytes())
    raw = model.SerializeToString()
    (bundle / "model.onnx").write_bytes(raw)
    change_manifest(bundle, artifact={"bytes": len(raw), "sha256": sha256_file(bundle / "model.onnx")})
    for load in (Bundle.open, replay, lambda path: Bundle.open(path, private=True)):
        with pytest.raises(BundleError, match=r"holds 'other.bin', which is not part of the bundle: .* Remove it"):
            load(bundle)


def test_what_is_written_into_the_folder_after_opening_does_not_reach_a_private_copy(bundle):
    golden = Bundle.open(bundle).golden()
    with Bundle.open(bundle, private=True) as opened, engines.load(opened) as engine:
        (bundle / "model.onnx").write_bytes(onnx_model(-quarter_weights()))
        found = engine.run(golden.sample(0))["probabilities"]
        assert opened.folder != bundle
    assert found == pytest.approx(golden.own_answers()["probabilities"][:1], abs=1e-6)
    assert not opened.folder.exists()


@pytest.mark.parametrize("name", ["manifest.json", "golden.npz", "model.onnx", "model.sig"])
@pytest.mark.parametrize("kind", ["link", "pipe", "folder"])
@pytest.mark.parametrize("private", [False, True])
def test_what_is_no_plain_file_is_refused_without_waiting(bundle, name, kind, private):
    path = bundle / name
    moved = path.rename(bundle.parent / name) if path.exists() else bundle.parent / "nothing"
    {"link": lambda: path.symlink_to(moved), "pipe": lambda: os.mkfifo(path), "folder": path.mkdir}[kind]()
    with pytest.raises(BundleError, match=name):
        Bundle.open(bundle, private=private)


def test_a_task_that_nobody_here_knows_is_refused_with_the_known_ones(bundle):
    change_manifest(bundle, task="fortune")
    with pytest.raises(
        BundleError, match=r"x has the task 'fortune', which .* Known: classification, .* Upgrade edgekit"
    ):
        replay(bundle)


def test_a_terminal_obeys_nothing_that_a_bundle_says(bundle, capsys):
    evil = "\x1b]0;title\x07\x1b[2J\x9b31m[bold]"
    change_manifest(bundle, model=evil, labels=(evil, "b", "c", "d"), provenance={evil: evil}, tools={evil: evil})
    inspect(bundle, as_json=False)
    bundles.verify([bundle], as_json=False)
    printed = "".join(capsys.readouterr())
    assert printed.count("\\x1b]0;title\\x07\\x1b[2J\\x9b31m[bold]") >= 5
    assert [c for c in printed if not c.isprintable() and c != "\n"] == []


def test_a_zip_is_not_packed_into_a_temporary_folder(bundle):
    packed = bundles.pack(bundle, None)
    assert packed == bundle.with_name("x.zip")
    with pytest.raises(UsageError, match=r"x\.zip is already a \.zip. To copy it, name the new file with --out"):
        bundles.pack(packed, None)
