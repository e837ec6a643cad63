"""`auto`: the fastest engine that passes the golden replay is measured once and kept with its reason."""

import json
import subprocess
import sys

import pytest
from conftest import ENVIRONMENT, ROOT
from engine_bundles import onnxruntime_only_bundle
from more_bundles import make_two_programs
from tiny_bundle import make_bundle, quarter_weights

from edgekit import load_engine
from edgekit.edge_runtime.bundle.bundle import Bundle
from edgekit.edge_runtime.choice import choose, engine_for, engines_for, fastest, kept_choice
from edgekit.edge_runtime.engines import engine_name, installed_engines, row_name
from edgekit.edge_runtime.errors import EngineError, UsageError

ENGINES = ("onnxruntime", "openvino")


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "edgekit" / "engines"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return Bundle.open(make_bundle(tmp_path_factory.mktemp("tiny"), name="quarters-onnx-fp32"))


def test_the_fastest_is_measured_once_and_kept_with_its_reason(bundle, cache):
    assert kept_choice(bundle) is None
    chosen = choose(bundle)
    assert [one.engine for one in chosen.tried] == list(ENGINES)
    times = {one.engine: one.p50_ms for one in chosen.tried}
    assert times[chosen.engine] <= 1.1 * min(times.values())
    other = next(name for name in ENGINES if name != chosen.engine)
    assert other in chosen.reason
    assert "×" in chosen.reason
    assert chosen.measured_at in chosen.text
    assert choose(bundle) == kept_choice(bundle) == chosen  # with the same moment: not measured again
    assert len(list(cache.iterdir())) == 1


def test_what_is_kept_decides_auto_and_nothing_else(bundle, cache):
    choose(bundle)
    [path] = cache.iterdir()
    for engine in ENGINES:
        path.write_text(json.dumps(json.loads(path.read_text()) | {"engine": engine}))
        with load_engine(bundle, engine="auto") as loaded:
            assert loaded.version.startswith(f"{engine} ")
        with load_engine(bundle) as loaded:
            assert loaded.version.startswith("onnxruntime ")


def test_other_threads_and_other_bundles_have_choices_of_their_own(bundle, cache, tmp_path):
    choose(bundle)
    assert kept_choice(bundle, num_threads=2) is None
    assert kept_choice(bundle, spin=True) is None
    assert kept_choice(Bundle.open(make_bundle(tmp_path, name="another"))) is None


def test_a_broken_file_counts_as_none(bundle, cache):
    chosen = choose(bundle)
    [path] = cache.iterdir()
    elsewhere = path.read_bytes().replace(chosen.engine.encode(), b"nonesuch")  # an engine that is not installed
    for content in (b"", b"{", b"[]", b'{"engine": "openvino"}', b"\xff\xfe", elsewhere):
        path.write_bytes(content)
        assert kept_choice(bundle) is None
    assert choose(bundle).engine in ENGINES
    assert kept_choice(bundle) is not None


def test_where_nothing_can_be_kept_it_is_chosen_all_the_same(bundle, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert choose(bundle).engine in ENGINES
    assert kept_choice(bundle) is None


def test_an_engine_that_cannot_run_it_is_not_chosen_and_the_reason_says_why(cache, tmp_path):
    bundle = Bundle.open(onnxruntime_only_bundle(tmp_path))
    chosen = choose(bundle)
    assert chosen.engine == "onnxruntime"
    assert chosen.reason.startswith("the only one whose golden replay holds; openvino may not be used: openvino 20")
    assert "operations: Det" in chosen.tried[1].refused
    assert chosen.tried[0].p50_ms is None


def test_where_no_engine_passes_its_golden_replay_none_is_chosen(cache, tmp_path):
    bundle = Bundle.open(make_bundle(tmp_path, name="wrong", weights=quarter_weights()[:, ::-1]))
    with pytest.raises(EngineError, match=r"no engine passes .* onnxruntime: its golden replay gives -?\d.*; openvino"):
        choose(bundle)
    assert not cache.exists()


def test_the_only_one_that_is_installed_is_not_measured(bundle, cache, monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    assert installed_engines("onnx") == ("onnxruntime",)
    chosen = choose(bundle)
    assert (chosen.engine, chosen.measured_at, chosen.tried) == ("onnxruntime", "", ())
    assert chosen.text == "onnxruntime: the only engine for onnx that is installed"
    assert not cache.exists()


def test_noise_does_not_move_a_bundle_to_another_engine():
    usual = [1.0, 1.1, 0.9, 1.05, 0.95, 1.0, 1.02]
    assert fastest({"a": usual, "b": usual[::-1]})[0] == "a"
    name, reason = fastest({"a": usual, "b": [ms / 2 for ms in usual]})
    assert name == "b"
    assert reason.startswith("2.00× faster than a [")
    assert fastest({"a": usual, "b": [ms / 2 for ms in usual], "c": [ms / 3 for ms in usual]})[0] == "c"
    assert fastest({"a": usual, "b": [2 * ms for ms in usual]}) == ("a", "2.00× faster than b [2.00, 2.00]")


def test_names_are_read_and_checked(bundle, cache):
    assert engine_for(bundle, None) == "onnxruntime"
    assert engine_for(bundle, "openvino") == "openvino"
    assert engines_for(bundle, "all") == list(ENGINES)
    assert engines_for(bundle, "openvino, onnxruntime,openvino") == ["openvino", "onnxruntime"]
    with pytest.raises(UsageError, match="no engine called 'tflite' runs. Engines that run it: onnxruntime, openvino"):
        engines_for(bundle, "openvino,tflite")
    assert [row_name("x", "onnx", name) for name in ENGINES] == ["x", "x@openvino"]


def test_programs_may_each_have_another_fastest_engine(cache, tmp_path):
    bundle = Bundle.open(make_two_programs(tmp_path))
    assert engines_for(bundle, "all") == list(ENGINES)
    assert engines_for(bundle, "openvino") == ["openvino"]
    with pytest.raises(UsageError, match="has several programs, and which engine is fastest may differ"):
        engines_for(bundle, "auto")
    with load_engine(bundle, engine="auto", program="step") as loaded:
        assert loaded.version.split()[0] == kept_choice(bundle, program="step").engine
    assert kept_choice(bundle, program="encoder") is None


def test_without_onnxruntime_a_plain_load_takes_what_is_there(bundle):
    code = (
        "import sys; sys.modules['onnxruntime'] = None\n"
        "from edgekit import Bundle, load_engine\n"
        "print(load_engine(Bundle.open(sys.argv[1])).version)\n"
    )
    command = [sys.executable, "-c", code, bundle.folder]
    done = subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True)
    assert done.stdout.startswith("openvino "), done.stderr
    assert engine_name("onnx", "x") == "onnxruntime"
