"""A user's samples: what is read, in which order, and what is refused with the file's name."""

from dataclasses import replace

import h5py
import numpy as np
import pytest
from PIL import Image

from edgekit.edge_runtime.bundle.manifest import ImagePreprocessing, TensorSpec
from edgekit.edge_runtime.errors import InputError, MissingData, UsageError
from edgekit.edge_runtime.preprocess.image import load_image
from edgekit.optimize.user_model.array_samples import Samples, fewer, noise, read_arrays, without
from edgekit.optimize.user_model.inputs import array_inputs, picture_inputs
from edgekit.optimize.user_model.picture_samples import (
    calibration_pictures,
    class_folders,
    holds_pictures,
    labelled_pictures,
    read_labels,
)
from edgekit.optimize.user_model.request import Request, Shape
from edgekit.optimize.user_model.signature import Signature
from edgekit.optimize.user_model.sources import Taken


def pictures_of(taken=None, **options):
    return picture_inputs(Request(model="m", **options), taken)


CONTRACT = pictures_of(sample_shape=(1, 3, 8, 8), no_normalise=True).picture
IMAGENET = Taken(
    height=224, width=224, resize_to=256, interpolation="bicubic", mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4), words="x"
)


@pytest.fixture
def pictures(tmp_path):
    """Two classes of three pictures, in folders, and a CSV of them beside."""
    draw = np.random.default_rng(0)
    lines = ["file,label"]
    for label in ("cat", "dog"):
        (tmp_path / "set" / label).mkdir(parents=True)
        for i in range(3):
            path = tmp_path / "set" / label / f"{i}.png"
            Image.fromarray(draw.integers(0, 256, (10, 12, 3), np.uint8)).save(path)
            lines.append(f"set/{label}/{i}.png, {label}")
    (tmp_path / "set" / "notes.txt").write_text("no picture")
    (tmp_path / "set.csv").write_text("\n".join(lines))
    return tmp_path / "set"


def test_pictures_are_read_as_a_device_reads_them(pictures):
    found = calibration_pictures(pictures, CONTRACT, name="image", most=100)
    first = load_image(pictures / "cat" / "0.png", CONTRACT)
    assert (len(found), found.words) == (6, "6 pictures")
    assert np.array_equal(found.arrays["image"][:1], first)


def test_fewer_pictures_are_always_the_same_ones(pictures):
    first, second = (calibration_pictures(pictures, CONTRACT, name="image", most=4) for _ in range(2))
    assert first.words == "4 of 6 pictures"
    assert np.array_equal(first.arrays["image"], second.arrays["image"])


@pytest.mark.parametrize("form", ["set", "set.csv"])
def test_classes_are_matched_by_name_whatever_the_order_of_the_labels(pictures, form):
    path = pictures.parent / form
    found = labelled_pictures(path, CONTRACT, name="image", labels=("dog", "cow", "cat"), task="classification")
    assert found.targets.tolist() == [2, 2, 2, 0, 0, 0]
    assert class_folders(path) == ("cat", "dog")


def test_classes_that_are_no_labels_are_named(pictures):
    with pytest.raises(
        InputError, match=r"1 of its classes are not among the 2 labels: 'dog'\. The labels are 'cat', 'hen'"
    ):
        labelled_pictures(pictures, CONTRACT, name="image", labels=("cat", "hen"), task="classification")
    with pytest.raises(InputError, match="like 'cat', are there twice among the labels"):
        labelled_pictures(pictures, CONTRACT, name="image", labels=("cat", "cat", "dog"), task="classification")


def test_a_csv_of_a_regression_holds_numbers(pictures):
    (pictures.parent / "numbers.csv").write_text("set/cat/0.png,1.5,2\nset/dog/0.png,3,-4\n")
    path = pictures.parent / "numbers.csv"
    found = labelled_pictures(path, CONTRACT, name="image", labels=("a", "b"), task="regression")
    assert found.targets.tolist() == [[1.5, 2.0], [3.0, -4.0]]
    with pytest.raises(InputError, match="'cat' is no number"):
        labelled_pictures(pictures.parent / "set.csv", CONTRACT, name="image", labels=("a",), task="regression")


def test_pictures_that_cannot_be_read_are_named(pictures):
    (pictures / "cat" / "0.png").write_bytes(b"no picture")
    (pictures / "dog" / "2.png").write_bytes(b"")
    with pytest.raises(InputError, match=r"2 of 6 pictures cannot be read\. .*cat/0\.png.*dog/2\.png is empty"):
        calibration_pictures(pictures, CONTRACT, name="image", most=100)


def test_folders_without_pictures_or_classes_are_refused(tmp_path, pictures):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds neither pictures"):
        holds_pictures(tmp_path / "empty")
    with pytest.raises(MissingData, match="nothing at"):
        holds_pictures(tmp_path / "no")
    with pytest.raises(InputError, match=r"one folder a class.*found 0\.png directly in it"):
        class_folders(pictures / "cat")
    (tmp_path / "wrong.csv").write_text("nowhere.png,cat\n")
    with pytest.raises(InputError, match="should have lines of file,label"):
        class_folders(tmp_path / "wrong.csv")


def test_labels_are_one_a_line(tmp_path):
    path = tmp_path / "labels.txt"
    path.write_text("tench\ngreat white shark \n\n")
    assert read_labels(path) == ("tench", "great white shark")
    path.write_text("a\n\nb\n")
    with pytest.raises(InputError, match="line 2 is empty"):
        read_labels(path)
    with pytest.raises(MissingData, match="no labels file"):
        read_labels(tmp_path / "no.txt")
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="no text in UTF-8"):
        read_labels(path)


def test_arrays_are_read_from_every_form(tmp_path):
    a, b = np.float32([[1, 2], [3, 4]]), np.int64([[5], [6]])
    np.save(tmp_path / "x.npy", a)
    np.savez(tmp_path / "both.npz", b=b, a=a, targets=np.int64([0, 1]))
    with h5py.File(tmp_path / "split.h5", "w") as file:
        file["inputs"], file["targets"] = a, np.int64([0, 1])
    (tmp_path / "folder").mkdir()
    np.save(tmp_path / "folder" / "a.npy", a)
    np.save(tmp_path / "folder" / "b.npy", b)

    def bound(name, *names):
        signature = Signature.of(*names)
        found = read_arrays(tmp_path / name, signature)
        return replace(found, arrays=signature.bound(found.arrays, name))

    assert bound("x.npy", "input").arrays["input"].tolist() == a.tolist()
    assert list(bound("both.npz", "a", "b").arrays) == ["a", "b"]
    assert bound("both.npz", "a", "b").targets.tolist() == [0, 1]
    assert bound("split.h5", "x").targets.tolist() == [0, 1]
    assert list(bound("folder", "b", "a").arrays) == ["b", "a"]


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"a": np.zeros((2, 2))}, "no array for the input 'b'. The model takes a, b; it holds a"),
        ({"a": np.zeros((2, 2)), "b": np.zeros((3, 1))}, "differ in length: a 2, b 3"),
        ({"a": np.zeros((0, 2)), "b": np.zeros((0, 1))}, "'a' is empty"),
        ({"a": np.float32([[1], [np.nan]]), "b": np.zeros((2, 1))}, "sample 1 of 'a' holds NaN or infinity"),
        ({"a": np.array([["x"], ["y"]]), "b": np.zeros((2, 1))}, "'a' holds <U1"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(tmp_path, arrays, message):
    np.savez(tmp_path / "bad.npz", **arrays)
    signature = Signature.of("a", "b")
    with pytest.raises(InputError, match=message):
        signature.bound(read_arrays(tmp_path / "bad.npz", signature).arrays, "bad.npz")


@pytest.mark.parametrize("name", ["bad.npz", "bad.h5", "bad.npy"])
def test_damaged_files_are_refused_and_nothing_is_unpickled(tmp_path, name):
    (tmp_path / name).write_bytes(b"damaged")
    with pytest.raises(InputError, match=name):
        read_arrays(tmp_path / name, Signature.of("a"))
    np.save(tmp_path / "objects.npy", np.array([{}, {}]), allow_pickle=True)
    with pytest.raises(InputError, match=r"objects\.npy is no .* it holds Python objects"):
        read_arrays(tmp_path / "objects.npy", Signature.of("a"))


def test_samples_of_the_validation_split_are_left_out_of_calibration():
    calibration = Samples(arrays={"x": np.arange(6).reshape(6, 1)}, words="6 samples")
    validation = Samples(arrays={"x": np.array([[4], [1], [9]])}, words="3 samples")
    kept, dropped = without(calibration, validation)
    assert (kept.arrays["x"].ravel().tolist(), dropped) == ([0, 2, 3, 5], 2)
    with pytest.raises(InputError, match="every calibration sample is in the validation split"):
        without(validation, validation)


def test_noise_fits_the_inputs_and_says_what_it_is():
    specs = [TensorSpec(name="a", dtype="uint8", shape=(1, 4)), TensorSpec(name="b", dtype="int64", shape=(1, 2))]
    found = noise(specs, 8)
    assert (found.arrays["a"].shape, found.arrays["a"].dtype, found.words) == ((8, 4), np.uint8, "8 random samples")
    assert set(found.arrays["b"].ravel()) == {0, 1}
    assert fewer(found, 3).arrays["a"].shape == (3, 4)


def test_a_shape_is_read_with_its_name_and_dtype():
    assert Shape.parse("1,3,224,224") == Shape(sides=(1, 3, 224, 224))
    assert Shape.parse("tokens=1,16:int64") == Shape(sides=(1, 16), name="tokens", dtype="int64")
    for bad in ("224", "1,x", "", "1,0", "1,3:complex64"):
        with pytest.raises(UsageError, match="sample-shape"):
            Shape.parse(bad)


def test_what_a_library_says_of_its_pictures_is_taken_over_and_the_user_goes_before():
    found = pictures_of(IMAGENET)
    contract = found.picture
    assert (contract.height, contract.resize, contract.resize_to, contract.interpolation) == (
        224, "resize_center_crop", 256, "bicubic"
    )  # fmt: skip
    scaled = pictures_of(IMAGENET, sample_shape=(1, 3, 112, 112), interpolation="nearest").picture
    assert (scaled.height, scaled.resize_to, scaled.interpolation) == (112, 128, "nearest")


def test_grey_and_raw_pictures():
    grey = pictures_of(sample_shape=(1, 1, 8, 8), mean=(0.5,), std=(0.5,))
    assert (grey.picture.mode, grey.specs[0].shape) == ("L", (1, 8, 8, 1))
    raw = pictures_of(sample_shape=["1,8,8,3:uint8"])
    assert (raw.picture.mode, raw.picture.in_graph) == ("RGB", ())


@pytest.mark.parametrize(
    ("shape", "options", "message"),
    [
        ((), {}, "size is not known"),
        ((1, 5, 8, 8), {}, "go into one input"),
        (["1,3,8,8", "1,3,9,9"], {}, "--sample-shape says 1,3,8,8 and 1,3,9,9"),
        ((1, 3, 8, 8), {"mode": "L"}, "--mode L does not fit 3 channels"),
        ((1, 3, 8, 8), {"mean": (0.1, 0.2)}, "--mean 0.1,0.2 has 2 numbers for 3 channels"),
        ((1, 3, 8, 8), {"std": (0.0,)}, "each std above 0"),
        ((1, 3, 8, 8), {"resize_to": 4, "no_normalise": True}, "too small"),
        ((1, 3, 8, 8), {}, "how pixels are normalized is not stated.*--no-normalise"),
        ((1, 3, 8, 8), {"mean": (0.5,), "no_normalise": True}, "contradict each other"),
    ],
)
def test_pictures_that_contradict_each_other_are_refused(shape, options, message):
    with pytest.raises(UsageError, match=message):
        pictures_of(sample_shape=shape, **options)


def test_unknown_words_list_the_known_ones():
    with pytest.raises(UsageError, match="unknown resize 'squash'. Known: resize_crop, stretch"):
        Request(model="m", resize="squash")


def test_arrays_say_shape_and_dtype_and_float64_becomes_float32():
    found = array_inputs(Signature.of("a", "b"), [], {"a": np.zeros((5, 2)), "b": np.zeros((5, 3), np.int32)})
    assert [(s.name, s.dtype, s.shape) for s in found.specs] == [("a", "float32", (1, 2)), ("b", "int32", (1, 3))]
    with pytest.raises(InputError, match=r"'a' are \[2\] each, --sample-shape says \[4\]"):
        array_inputs(Signature.of("a"), [Shape(sides=(1, 4))], {"a": np.zeros((5, 2))})
    with pytest.raises(UsageError, match="shape of the input 'a' is not known"):
        array_inputs(Signature.of("a"), [], None)


def test_the_contract_of_the_tests_is_one():
    assert isinstance(CONTRACT, ImagePreprocessing)
