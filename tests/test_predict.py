"""`edgekit predict` for arrays, rows and text, and `edgekit inspect` of a folder: on tiny bundles, in this process."""

import json

import numpy as np
import pytest
from tiny_bundle import IMAGE, LABELS, make_bundle, probabilities, quarter_pictures, quarter_weights
from typer.testing import CliRunner

from edgekit.cli import app
from edgekit.edge_runtime.bundle.contract import TensorSpec
from edgekit.edge_runtime.command_line import EDGEKIT
from edgekit.edge_runtime.errors import InputError, UsageError
from edgekit.edge_runtime.preprocess.samples import sample_of_row, sample_of_text, samples_of_files

run = CliRunner().invoke
PIXELS, TRUTH = quarter_pictures(4)
ROW = TensorSpec(name="measurements", dtype="float32", shape=(1, 3))


@pytest.fixture(scope="module")
def bundles(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundles")
    make_bundle(folder, name="quarters-arrays", pictures=False)
    make_bundle(folder, name="quarters-undecided", status="undecided")
    return folder


def predict(bundles, *words):
    return run(app, ["predict", str(bundles / "quarters-arrays"), *map(str, words), "--json"])


def test_a_file_of_many_samples_gets_as_many_answers_and_their_outputs_in_a_file(bundles, tmp_path):
    np.save(tmp_path / "x.npy", PIXELS)
    done = predict(bundles, "--input", tmp_path / "x.npy", "--out", tmp_path / "answers.npz")
    answers = json.loads(done.stdout)["answers"]
    assert [answer["label"] for answer in answers] == [LABELS[i] for i in TRUTH]
    assert answers[2]["input"] == f"{tmp_path / 'x.npy'}[2]"
    saved = np.load(tmp_path / "answers.npz")["probabilities"]
    np.testing.assert_allclose(saved, probabilities(PIXELS, quarter_weights()), atol=1e-6)


def test_one_sample_needs_no_batch_axis_and_another_dtype_may_hold_the_same_numbers(bundles, tmp_path):
    np.savez(tmp_path / "x.npz", image=PIXELS[1].astype(np.float64))
    for word in (f"image={tmp_path / 'x.npz'}", tmp_path / "x.npz"):
        done = predict(bundles, "--input", word)
        assert [answer["label"] for answer in json.loads(done.stdout)["answers"]] == [LABELS[TRUTH[1]]]


def test_a_row_is_reshaped_to_the_input(bundles):
    done = predict(bundles, "--row", ",".join(map(str, PIXELS[2].ravel())))
    assert json.loads(done.stdout)["answers"][0]["label"] == LABELS[TRUTH[2]]
    spec = sample_of_row("7.4, 0.7,0", [ROW]).arrays["measurements"]
    assert (spec.dtype, spec.tolist()) == (np.float32, [[np.float32(7.4), np.float32(0.7), 0.0]])


def test_text_becomes_the_codes_of_its_last_characters():
    codes = TensorSpec(name="codes", dtype="int64", shape=(1, 4))
    assert sample_of_text("It is A ", [codes]).arrays["codes"].tolist() == [[ord(c) for c in "s a "]]
    assert sample_of_text("a", [codes]).arrays["codes"].tolist() == [[32, 32, 32, 97]]
    with pytest.raises(UsageError, match=r"this one takes float32 \[1, 3\]"):
        sample_of_text("a", [ROW])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "nothing to answer: image uint8"),
        (("digit.png",), f"takes arrays, not pictures: image uint8 [1, 8, 8, 1]. {EDGEKIT} predict "),
        (("--text", "it is"), "takes no text: image uint8"),
        (("--row", "1,2"), "--row has 2 numbers; 'image' takes 64"),
        (("--row", "one"), "--row 'one' should be numbers with commas"),
        (("--row", ",".join(["256"] * 64)), "float64 from 256 to 256; 'image' takes uint8"),
        (("--input", "no.npy"), "cannot read no.npy: No such file"),
    ],
)
def test_what_does_not_fit_is_said_with_what_would(bundles, words, said):
    done = predict(bundles, *words)
    assert said in str(done.exception)
    assert done.stdout == ""


def test_arrays_of_another_shape_or_kind_are_named(tmp_path):
    np.save(tmp_path / "flat.npy", PIXELS.reshape(4, 64))
    with pytest.raises(InputError, match=r"flat.npy holds uint8 \[4, 64\]; 'image' takes uint8 \[8, 8, 1\]"):
        list(samples_of_files([str(tmp_path / "flat.npy")], [IMAGE]))
    np.save(tmp_path / "objects.npy", np.array([{}]), allow_pickle=True)
    (tmp_path / "text.npz").write_text("no archive")
    for name in ("objects.npy", "text.npz"):
        with pytest.raises(InputError, match=f"{name} is no .npy or .npz of plain numbers"):
            list(samples_of_files([str(tmp_path / name)], [IMAGE]))


def test_several_inputs_are_given_by_name(tmp_path):
    np.save(tmp_path / "a.npy", np.ones((2, 3), np.float32))
    np.save(tmp_path / "b.npy", np.ones((3, 8, 8, 1), np.uint8))
    both = [f"measurements={tmp_path / 'a.npy'}", f"image={tmp_path / 'b.npy'}"]
    with pytest.raises(InputError, match="2 of measurements, 3 of image. Give as many of each"):
        list(samples_of_files(both, [ROW, IMAGE]))
    with pytest.raises(UsageError, match="the model also takes image: add --input image=FILE.npy"):
        list(samples_of_files(both[:1], [ROW, IMAGE]))
    with pytest.raises(UsageError, match="say which input x.npy is: --input measurements=x.npy"):
        list(samples_of_files(["x.npy"], [ROW, IMAGE]))
    np.savez(tmp_path / "both.npz", measurements=np.ones(3, np.float32), image=PIXELS[0])
    [sample] = samples_of_files([str(tmp_path / "both.npz")], [ROW, IMAGE])
    assert {name: array.shape for name, array in sample.arrays.items()} == {
        "measurements": (1, 3),
        "image": IMAGE.shape,
    }


def test_inspect_of_a_folder_lists_its_bundles_and_says_what_is_wrong_with_one(bundles):
    done = run(app, ["inspect", str(bundles)])
    assert done.exit_code == 0
    lines = [line.split() for line in done.stdout.splitlines()]
    assert lines[0] == ["bundle", "status", "size", "runs", "on", "accuracy"]
    assert [line[:2] for line in lines[1:3]] == [
        [str(bundles / "quarters-arrays"), "verified"],
        [str(bundles / "quarters-undecided"), "undecided"],
    ]
    assert done.stdout.splitlines()[-1] == f"More of one: {EDGEKIT} inspect {bundles / 'quarters-arrays'}"
    found = json.loads(run(app, ["inspect", str(bundles), "--json"]).stdout)
    assert [found[str(path)]["status"] for path in sorted(bundles.iterdir())] == ["verified", "undecided"]


def test_a_damaged_one_among_them_is_named_and_the_status_is_1(tmp_path):
    make_bundle(tmp_path, name="good")
    (make_bundle(tmp_path, name="bad") / "model.onnx").write_bytes(b"")
    done = run(app, ["inspect", str(tmp_path)])
    assert done.exit_code == 1
    assert f"✗ {tmp_path / 'bad'}" in done.stdout
    assert str(tmp_path / "good") in done.stdout
