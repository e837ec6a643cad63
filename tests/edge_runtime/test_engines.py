"""Bad input to an engine: each says what was expected, what was found and what to do, and the engine goes on."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from conftest import ROOT
from tiny_bundle import make_bundle, quarter_pictures, with_program

from edgekit.edge_runtime.bundle.bundle import Bundle
from edgekit.edge_runtime.bundle.manifest import BatchRange, TensorSpec
from edgekit.edge_runtime.command_line import install
from edgekit.edge_runtime.engines import Engine, load, open_session_of
from edgekit.edge_runtime.errors import BundleError, EngineError, InputError

PICTURE = quarter_pictures()[0][:1]


class Echo:
    """A session that gives back what it is given; for tests of what an engine lets through."""

    version, num_threads = "echo 1", 1

    def run(self, inputs):
        return [np.array(array) for array in inputs]


def echo(dtype="float32", shape=(2, 3), batch=None, **options):
    spec = TensorSpec(name="x", dtype=dtype, shape=shape, batch=batch)
    return Engine("echo", Echo(), [spec], [replace(spec, name="y")], **options)


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    with load(Bundle.open(make_bundle(tmp_path_factory.mktemp("tiny"), name="tiny"))) as engine:
        yield engine


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({}, "takes the inputs: image. Found: none"),
        ({"picture": PICTURE}, "takes the inputs: image. Found: picture"),
        ({"image": PICTURE, "more": PICTURE}, "takes the inputs: image. Found: image, more"),
        ({"image": PICTURE.astype(np.float32)}, "should be uint8 [1, 8, 8, 1], found float32 [1, 8, 8, 1]. `"),
        ({"image": PICTURE[0]}, "should be uint8 [1, 8, 8, 1], found uint8 [8, 8, 1]"),
        ({"image": PICTURE.repeat(2, 0)}, "should be uint8 [1, 8, 8, 1], found uint8 [2, 8, 8, 1]"),
        ({"image": PICTURE[:0]}, "should be uint8 [1, 8, 8, 1], found uint8 [0, 8, 8, 1]"),
        ({"image": np.uint8(3)}, "found uint8. numpy.asarray(VALUE, 'uint8') makes one"),
        ({"image": np.array(3, np.uint8)}, "should be uint8 [1, 8, 8, 1], found uint8 []"),
        ({"image": PICTURE.tolist()}, "should be a numpy array of uint8 [1, 8, 8, 1], found list"),
        ({"image": np.array([None])}, "found object [1]"),
    ],
)
def test_what_does_not_fit_is_named(engine, arrays, said):
    with pytest.raises(InputError) as error:
        engine.run(arrays)
    assert said in str(error.value)
    assert engine.run({"image": PICTURE})["probabilities"].shape == (1, 4)


def test_another_byte_order_is_named_with_its_remedy():
    with pytest.raises(InputError, match=r"found >f4 \[2, 3\]. Its byte order .*: use .astype\('float32'\)"):
        echo().run({"x": np.ones((2, 3), ">f4")})


@pytest.mark.parametrize("layout", ["transposed", "reversed", "broadcast", "unaligned", "read-only"])
def test_any_memory_layout_gives_the_same_answer(engine, layout):
    laid = {
        "transposed": lambda a: np.ascontiguousarray(a.transpose(0, 2, 1, 3)).transpose(0, 2, 1, 3),
        "reversed": lambda a: np.ascontiguousarray(a[:, ::-1])[:, ::-1],
        "broadcast": lambda a: np.broadcast_to(a[0], a.shape),
        "unaligned": lambda a: np.frombuffer(b"\0" + a.tobytes(), np.uint8)[1:].reshape(a.shape),
        "read-only": lambda a: np.frombuffer(a.tobytes(), a.dtype).reshape(a.shape),
    }[layout](PICTURE)
    wanted = engine.run({"image": PICTURE})["probabilities"]
    assert np.array_equal(engine.run({"image": laid})["probabilities"], wanted)


def test_unaligned_floats_reach_the_library_aligned():
    raw = np.frombuffer(b"\0" + np.arange(6, dtype=np.float32).tobytes(), np.uint8)[1:]
    unaligned = raw.view(np.float32).reshape(2, 3)
    assert not unaligned.flags.aligned
    assert echo().run({"x": unaligned})["y"].tolist() == [[0, 1, 2], [3, 4, 5]]


@pytest.mark.parametrize("shape", [(2, 3), (200, 300)])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_what_is_no_number_is_refused_with_its_place(dtype, bad, shape):
    array = np.full(shape, 60_000, dtype)  # the sum of these overflows float16: large numbers are no infinite ones
    assert np.array_equal(echo(dtype, shape).run({"x": array})["y"], array)
    array[1, 2] = bad
    with pytest.raises(InputError, match=rf"'x' holds {bad} at \[1, 2\], .*check_finite=False\) lets such"):
        echo(dtype, shape).run({"x": array})
    assert np.array_equal(echo(dtype, shape, check_finite=False).run({"x": array})["y"], array, equal_nan=True)


def test_a_scalar_input_stays_one():
    assert echo("int64", ()).run({"x": np.array(7)})["y"].shape == ()


def test_a_free_batch_has_bounds():
    engine = echo(shape=(1, 3), batch=BatchRange(min=1, max=4))
    assert [len(engine.run({"x": np.ones((n, 3), np.float32)})["y"]) for n in (1, 4, 2)] == [1, 4, 2]
    for rows, advice in ((0, "Give it at least one row"), (5, "Split the batch")):
        with pytest.raises(InputError, match=f"has a batch of {rows}; this bundle takes 1 to 4. {advice}"):
            engine.run({"x": np.ones((rows, 3), np.float32)})
    with pytest.raises(InputError, match=r"should be float32 \[1 to 4, 3\], found float32 \[2, 4\]"):
        engine.run({"x": np.ones((2, 4), np.float32)})


def test_a_model_that_answers_another_shape_is_named():
    spec = TensorSpec(name="x", dtype="float32", shape=(2, 3))
    engine = Engine("echo", Echo(), [spec], [TensorSpec(name="y", dtype="float32", shape=(2, 4))])
    with pytest.raises(
        EngineError, match=r"answered float32 \[2, 3\] for 'y', but the manifest says float32 \[2, 4\]: they"
    ):
        engine.run({"x": np.ones((2, 3), np.float32)})


def test_a_closed_engine_says_so(tmp_path):
    with load(Bundle.open(make_bundle(tmp_path, name="tiny"))) as engine:
        assert engine.num_threads == 1
    with pytest.raises(EngineError, match="this onnx engine was closed. Load the bundle again"):
        engine.run({"image": PICTURE})


def test_names_in_the_file_and_in_the_manifest_must_be_the_same(tmp_path):
    bundle = Bundle.open(make_bundle(tmp_path, name="tiny"))
    manifest = bundle.manifest
    for key in ("inputs", "outputs"):
        bundle.manifest = with_program(manifest, **{key: (replace(getattr(manifest, key)[0], name="other"),)})
        said = rf"model.onnx has the {key} \['\w+'\], but the manifest says \['other'\]"
        with pytest.raises(EngineError, match=said):
            load(bundle)


def test_wrong_usage_lists_what_is_known(tmp_path):
    with pytest.raises(
        BundleError, match="'tflite', for which .* no engine. Known: aot, executorch, onnx, torch_export, torchscript"
    ):
        open_session_of("tflite", "bundles/x")
    with pytest.raises(InputError, match="num_threads should be 1 or more, found 0"):
        load(Bundle.open(make_bundle(tmp_path, name="tiny")), num_threads=0)


@pytest.mark.parametrize(
    ("format", "package", "extra"),
    [
        ("onnx", "onnxruntime", "onnx"),
        ("onnx", "openvino", "openvino"),
        ("torchscript", "torch", "torch"),
        ("aot", "torch", "torch"),
        ("torch_export", "torch", "torch"),
    ],
)
def test_a_missing_library_is_named_with_the_line_that_installs_it(format, package, extra):
    code = (
        f"import sys; sys.modules[{package!r}] = None\n"
        "from edgekit.edge_runtime.engines import open_session_of\n"
        f"try: open_session_of({format!r}, 'bundles/x', {package!r})\n"
        "except Exception as error: print(type(error).__name__, error)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    said = f"bundles/x needs {package}, which is not installed. Run: {install(extra)}"
    assert done.stdout.strip() == f"MissingDependency {said}", done.stderr
