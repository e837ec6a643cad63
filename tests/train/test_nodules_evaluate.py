"""`edgekit nodules evaluate`: the book's rule on a case computed by hand, and scans from files to the table."""

import json
import os
import signal
import threading
import time

import numpy as np
import pytest
import SimpleITK
from small_nodules import LUNG_HU, always, ball, thresholding
from typer.testing import CliRunner

from edgekit.cli import app
from edgekit.cli.nodules_evaluate import nodules_evaluate as command
from edgekit.cli.nodules_evaluate import table_text
from edgekit.edge_runtime.errors import EdgekitError, Interrupted, MissingData, UsageError
from edgekit.train.checkpoint import save_weights
from edgekit.train.data.luna import MALIGNANCY, Annotation, read_annotations
from edgekit.train.data.synthetic_ct import write_scans
from edgekit.train.nodules.evaluate import (
    BENIGN,
    FILTERED,
    MALIGNANT,
    OUTCOMES,
    Detection,
    NetFiles,
    count_outcomes,
    evaluate,
)

HEAD = (
    "seriesuid,coordX,coordY,coordZ,diameter_mm,mal_bool,mal_details,bboxLowX,bboxLowY,bboxLowZ,bboxHighX,bboxHighY,"
    "bboxHighZ,len_mal_details\n"
)


def nodule(x, diameter, malignant):
    return Annotation(series_uid="s", center_mm=(x, 0.0, 0.0), diameter_mm=diameter, malignant=malignant, where="")


def group(x, outcome):
    return Detection(center_mm=(x, 0.0, 0.0), outcome=outcome)


def test_the_books_rule_by_hand():
    nodules = [
        nodule(0, 10, True),  # groups at 6.9 and 3 are near, the one at 7 is not
        nodule(100, 10, False),  # of its two groups the filtered one counts less
        nodule(200, 10, False),  # nothing near
        nodule(300, 10, True),  # only a filtered one
        nodule(302, 20, False),  # shares that one
        nodule(400, 4, True),  # called benign, at 2.7 of 2.8 mm
    ]
    groups = [group(6.9, MALIGNANT), group(3, FILTERED), group(-7, BENIGN), group(100, FILTERED), group(101, BENIGN)]
    groups += [group(300, FILTERED), group(402.7, BENIGN), group(500, MALIGNANT), group(600, FILTERED)]
    expected = [[0, 1, 1, 1], [1, 1, 1, 0], [0, 1, 1, 1]]
    assert count_outcomes(nodules, groups).tolist() == expected
    assert count_outcomes(nodules[::-1], groups[::-1]).tolist() == expected


def test_nothing_found_and_nothing_to_find():
    both = [nodule(0, 10, True), nodule(9, 5, False)]
    assert count_outcomes(both, []).tolist() == [[0, 0, 0, 0], [1, 0, 0, 0], [1, 0, 0, 0]]
    assert count_outcomes([], [group(0, FILTERED), group(0, BENIGN)]).tolist() == [[0, 1, 1, 0], [0] * 4, [0] * 4]


def test_the_books_own_table_as_text():
    """Page 417, with the malignancy model."""
    table = np.array([[0, 164_893, 1_593, 563], [12, 3, 70, 17], [1, 6, 9, 36]])
    assert table_text(table, OUTCOMES).splitlines() == [
        "           | missed | filtered out | predicted benign | predicted malignant",
        "non-nodule |        |      164,893 |            1,593 |                 563",
        "benign     |     12 |            3 |               70 |                  17",
        "malignant  |      1 |            6 |                9 |                  36",
    ]


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    save_weights(thresholding(), folder / "segmenter.safetensors")
    save_weights(always(3), folder / "classifier.safetensors")
    save_weights(always(1), folder / "malignancy.safetensors")
    return {name: folder / f"{name}.safetensors" for name in ("segmenter", "classifier", "malignancy")}


@pytest.fixture
def root(tmp_path):
    """Two scans of balls. `a`: a malignant and a benign nodule, a ball that is none, and a nodule that is not there.
    `b`: a ball that is none."""
    root = tmp_path / "luna"
    (root / "subset0").mkdir(parents=True)
    shape = (32, 48, 96)
    many = ball(shape, (16, 20, 20), 4) | ball(shape, (10, 24, 50), 4) | ball(shape, (20, 24, 80), 4)
    for uid, mask in (("a", many), ("b", ball(shape, (16, 20, 20), 4))):
        image = SimpleITK.GetImageFromArray(np.where(mask, 0, LUNG_HU).astype(np.int16))
        SimpleITK.WriteImage(image, str(root / "subset0" / f"{uid}.mhd"))
    rest = "[3],0,0,0,0,0,0,1"
    places = [("20,20,16,8,True"), ("52,24,10,8,False"), ("50,5,25,6,False")]
    (root / MALIGNANCY).write_text(HEAD + "".join(f"a,{place},{rest}\n" for place in places))
    return root


WHOLE = {
    "non-nodule": {"filtered out": 0, "predicted benign": 0, "predicted malignant": 2},
    "benign": {"missed": 1, "filtered out": 0, "predicted benign": 0, "predicted malignant": 1},
    "malignant": {"missed": 0, "filtered out": 0, "predicted benign": 0, "predicted malignant": 1},
}


def test_from_scans_to_the_table_and_again(root, weights, tmp_path, capsys):
    out = tmp_path / "out"
    assert command(root, out=out, split="all", **weights)
    said = capsys.readouterr()
    assert "2 scans, 2 of them analysed now: 2 of 3 nodules found, and 2 findings that are not nodules" in said.out
    assert "a: 2 of 3 nodules found, 1 findings that are not nodules" in said.err
    answer = json.loads((out / "evaluation.json").read_text())
    assert (answer["table"], answer["skipped"], answer["synthetic"]) == (WHOLE, {}, False)
    assert answer["scans"]["b"]["non-nodule"]["predicted malignant"] == 1
    (out / "scans" / "b.json").unlink()
    assert command(root, out=out, split="all", as_json=True, **weights)
    said = capsys.readouterr()
    assert json.loads(said.out)["table"] == WHOLE
    assert [line.split(": ")[1] for line in said.err.splitlines()] == ["b"]


def test_without_a_malignancy_net_there_is_one_prediction(root, weights, tmp_path, capsys):
    """And the validation split of two series is the first."""
    assert command(root, out=tmp_path / "out", **{n: weights[n] for n in ("segmenter", "classifier")})
    head, others = capsys.readouterr().out.splitlines()[:2]
    assert head == "           | missed | filtered out | predicted nodule"
    assert others == "non-nodule |        |            0 |                1"
    assert [path.name for path in (tmp_path / "out" / "scans").iterdir()] == ["a.json"]


def test_a_bad_scan_is_said_and_tried_again(root, weights, tmp_path, capsys):
    raw = root / "subset0" / "b.raw"
    whole = raw.read_bytes()
    raw.write_bytes(whole[:-5])
    out = tmp_path / "out"
    assert not command(root, out=out, split="all", as_json=True, **weights)
    said = capsys.readouterr()
    assert "it was cut short" in json.loads(said.out)["skipped"]["b"]
    assert "b: skipped: " in said.err
    raw.write_bytes(whole)
    assert command(root, out=out, split="all", **weights)
    assert json.loads((out / "evaluation.json").read_text())["table"] == WHOLE


def test_a_nodule_outside_its_scan_is_named_by_its_line(root, weights, tmp_path):
    with (root / MALIGNANCY).open("a") as file:
        file.write("b,5,5,99,6,True,[3],0,0,0,0,0,0,1\n")
    found = evaluate(root, tmp_path / "out", NetFiles.of(weights, bundles=False), series=["a", "b"])
    (bad,) = found.skipped
    assert f"{MALIGNANCY}, line 5: the place (5.00, 5.00, 99.00) mm is voxel (99, 5, 5), outside of scan" in bad.why
    assert list(found.tables) == ["a"]


def interrupt_when_there(path):
    """Sends this process a Ctrl-C as soon as `path` is there."""
    while not path.exists():
        time.sleep(0.001)
    os.kill(os.getpid(), signal.SIGINT)


def test_ctrl_c_keeps_what_is_done(root, weights, tmp_path, capsys):
    out, before = tmp_path / "out", signal.signal(signal.SIGINT, signal.default_int_handler)
    threading.Thread(target=interrupt_when_there, args=[out / "scans" / "a.json"], daemon=True).start()
    try:
        with pytest.raises(Interrupted, match=r"interrupted: [01] scans? .* kept in .*out"):
            command(root, out=out, split="all", **weights)
    finally:
        signal.signal(signal.SIGINT, before)
    assert [path.name for path in (out / "scans").iterdir()] == ["a.json"]
    assert command(root, out=out, split="all", as_json=True, **weights)
    assert json.loads(capsys.readouterr().out)["table"] == WHOLE


def test_what_is_refused(root, weights, tmp_path):
    out = tmp_path / "out"
    command(root, out=out, split="all", **weights)
    two = {n: weights[n] for n in ("segmenter", "classifier")}
    with pytest.raises(UsageError, match="a.json is a result of other nets. Give another --out"):
        command(root, out=out, split="all", **two)
    (out / "scans" / "a.json").write_text("{}")
    with pytest.raises(EdgekitError, match="a.json is damaged: .*format_version is missing. Remove it"):
        command(root, out=out, split="all", **weights)
    with pytest.raises(UsageError, match="lies in it, and that is read: it would be damaged"):
        command(root, out=root, split="all", **weights)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("kept")
    with pytest.raises(UsageError, match="mine holds files that are not results"):
        command(root, out=tmp_path / "mine", split="all", **weights)
    with pytest.raises(UsageError, match="unknown split 'some'. Known: all, validation"):
        command(root, out=out, split="some", **weights)
    (tmp_path / "list.csv").write_text("a\nc\n")
    with pytest.raises(UsageError, match="1 of 2 series have no scan in .*luna; the first one is c"):
        command(root, out=out, series=tmp_path / "list.csv", **weights)
    with pytest.raises(MissingData, match="there are no scans in"):
        command(tmp_path / "mine", out=tmp_path / "other", **weights)
    with pytest.raises(UsageError, match="--bundles brings its own weights"):
        command(root, out=out, bundles=tmp_path, **weights)
    for path in (root / "subset0").glob("*.raw"):
        path.unlink()
    with pytest.raises(EdgekitError, match="none of the 2 scans could be evaluated. The first one: .*not beside it"):
        command(root, out=tmp_path / "other", split="all", **weights)


def test_synthetic_scans_as_a_user_types_it(weights, tmp_path):
    """Every nodule of the list is counted once; the split's one series of two is the first."""
    write_scans(tmp_path / "luna", 2, slices=40, side=96, others=1)
    files = [word for net, path in weights.items() for word in (f"--{net}", str(path))]
    words = ["nodules", "evaluate", str(tmp_path / "luna"), "--out", str(tmp_path / "out"), "--json", *files]
    done = CliRunner().invoke(app, words, catch_exceptions=False)
    answer = json.loads(done.stdout)
    assert (done.exit_code, answer["synthetic"], list(answer["scans"])) == (0, True, ["SYNTHETIC.1.0000"])
    listed = [n for n in read_annotations(tmp_path / "luna" / MALIGNANCY) if n.series_uid == "SYNTHETIC.1.0000"]
    for truth, malignant in (("benign", False), ("malignant", True)):
        assert sum(answer["table"][truth].values()) == sum(n.malignant is malignant for n in listed)
