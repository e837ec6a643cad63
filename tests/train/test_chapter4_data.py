"""Chapter 4's wines, bikes and text: the book's shapes and figures on its own files, and damaged files are named."""

import numpy as np
import pytest
from chapter4_baselines import (
    SULFUR_THRESHOLD,
    GoodWines,
    always_good,
    pair_counts,
    same_hour,
    sulfur_threshold,
)

from edgekit.edge_runtime.errors import MissingData
from edgekit.edge_runtime.preprocess.text import character_codes
from edgekit.train.data import austen, bikes, wine
from edgekit.train.data.tables import read_table
from edgekit.train.dataset import Split


@pytest.fixture(scope="module", autouse=True)
def files(data_root):
    if not (data_root / "book" / "p1ch4").is_dir():
        pytest.skip(f"the book's chapter-4 files are not in {data_root}")


@pytest.fixture(scope="module")
def wines():
    return wine.read_wines()


@pytest.fixture(scope="module")
def text():
    return austen.read_text()


def rows(array):
    return {row.tobytes() for row in array}


def test_the_wines_are_the_books(wines):
    assert (wines.shape, wines.dtype) == ((4898, 12), np.float32)
    assert wines[0].tolist() == pytest.approx([7, 0.27, 0.36, 20.7, 0.045, 45, 170, 1.001, 3, 0.45, 8.8, 6])
    assert np.count_nonzero(wines[:, -1] <= 3) == 20


def test_the_books_threshold_on_all_wines(wines):
    middling = wines[(wines[:, -1] > 3) & (wines[:, -1] < 7)]
    assert middling[:, wine.TOTAL_SULFUR_DIOXIDE].mean() == pytest.approx(SULFUR_THRESHOLD, abs=5e-3)
    found = sulfur_threshold(Split(inputs=wines[:, :-1], targets=(wines[:, -1] > 5).astype(np.int64)))
    assert found == GoodWines(samples=4898, predicted=2727, actual=3258, both=2018)
    assert (found.precision, found.recall, found.accuracy) == pytest.approx((0.74001, 0.61940, 0.60208), abs=5e-6)


def test_no_wine_is_in_two_splits():
    data = wine.wines()
    train, calibration, validation = (rows(s.inputs) for s in (data.train, data.calibration, data.validation))
    assert [len(s) for s in (data.train, data.calibration, data.validation)] == [3459, 464, 975]
    assert train & calibration == train & validation == calibration & validation == set()
    assert len(train | calibration | validation) == 3961  # 937 of the 4,898 repeat another's measurements
    assert always_good(data.validation).value == pytest.approx(0.655, abs=5e-4)
    assert data.sha256() == "6d69ff6e367f8ab4aae5428b2f5d5490e59d9dc5600e235f7141869f19dab203"


def test_the_bikes_are_the_books():
    hours = bikes.read_hours()
    assert (hours.shape, hours.strides) == ((17520, 17), (68, 4))
    days = bikes.by_day(hours)
    assert (days.shape, days.transpose(0, 2, 1).shape) == ((730, 24, 17), (730, 17, 24))
    assert np.shares_memory(days, hours)
    assert hours[0].tolist() == pytest.approx([1, 1, 1, 0, 1, 0, 0, 6, 0, 1, 0.24, 0.2879, 0.81, 0, 3, 13, 16])
    assert np.array_equal(days[:, :, bikes.COLUMNS.index("hr")], np.tile(np.arange(24.0), (730, 1)))
    weather = hours[:, bikes.COLUMNS.index("weathersit")]
    assert set((weather - 1) / 3) == {0.0, np.float32(1 / 3), np.float32(2 / 3), 1.0}


def test_no_bike_input_knows_its_targets_day():
    data = bikes.bikes()
    assert [len(s) for s in (data.train, data.calibration, data.validation)] == [577, 90, 146]
    assert data.validation.inputs.shape == (146, 7, 24, 17)
    # What is held out begins where training ends: the first row to predict follows the last row of the inputs.
    last_train, first_held_out = data.train.targets[-1], data.validation.targets[0]
    assert np.array_equal(data.validation.inputs[0, -1, :, bikes.COUNT], last_train)
    assert np.array_equal(data.validation.inputs[1, -1, :, bikes.COUNT], first_held_out)
    assert not any(np.array_equal(first_held_out, day) for day in data.train.inputs[..., bikes.COUNT].reshape(-1, 24))
    assert data.sha256() == "d2faccb8faf08b42833f64cfad4114404069ae00349ffc124c412c16bede6035"


def test_the_same_hour_yesterday_and_last_week():
    data = bikes.bikes()
    assert same_hour(data.validation).value == pytest.approx(79.144, abs=1e-3)
    assert same_hour(data.validation, days_before=7).value == pytest.approx(66.424, abs=1e-3)


def test_the_text_is_the_books(text):
    line = text.split("\n")[200]
    assert (len(line), line[1:11]) == (70, "Impossible")
    assert [chr(c) for c in character_codes(line)[:11]] == list('"impossible')
    words = {word.strip('.,;:"!?“”_-') for word in text.lower().split()}
    assert (len(words), sorted(words).index("impossible")) == (7261, 3394)


def test_the_text_is_split_where_nobody_has_read(text):
    data, codes = austen.characters(), character_codes(austen.novel(text))
    assert [len(s) for s in (data.train, data.calibration, data.validation)] == [547_901, 357, 8_560]
    assert (codes > 0).all()  # nothing of the novel is lost to an unknown character
    assert np.array_equal(data.train.inputs[1, :-1], data.train.inputs[0, 1:])
    assert np.array_equal(data.train.inputs[1:, -1], data.train.targets[:-1])
    border = int(0.85 * len(codes))
    assert np.array_equal(data.validation.inputs[0], codes[border : border + 16])
    assert data.sha256() == "3aa855fbd8ece0b3f485db5f672c3ff6d4f76e07e5053f6043d92a2ba791930a"
    assert pair_counts(data).value == pytest.approx(3.488, abs=1e-3)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a;b\n1;2\n3;x\n", "line 3, column 'b': 'x' is not a number"),
        (b"a;b\n1;2\n3;nan\n", "line 3, column 'b': 'nan' is not a number"),
        (b"a;b\n1;2;3\n4;5\n", "line 2 should have 2 fields, found 3"),
        (b"a;b\n1;2\n\n", "line 3 should have 2 fields, found 1"),
        (b"a;c\n1;2\n3;4\n", "line 1 should name the columns 'a;b', found 'a;c'"),
        (b"a;b\n1;2\n", "it has 1 lines of numbers, not 2"),
        (b"", "line 1 should name the columns"),
        (b"a;b\n1;\xff\n", "byte 6 is not UTF-8"),
    ],
)
def test_a_damaged_table_is_named_with_its_line(tmp_path, content, message):
    path = tmp_path / "table.csv"
    path.write_bytes(content)
    with pytest.raises(MissingData, match=f"{path} is damaged: {message}.*Fetch it$"):
        read_table(path, ("a", "b"), separator=";", rows=2, advice="Fetch it")


@pytest.mark.parametrize("read", [wine.read_wines, bikes.read_hours, austen.read_text])
def test_a_missing_file_is_named_with_the_command_that_gets_it(tmp_path, monkeypatch, read):
    monkeypatch.setenv("EDGEKIT_DATA", str(tmp_path))
    with pytest.raises(
        MissingData, match=rf"{tmp_path}/book/p1ch4/.* is not there[\s\S]*curl -fL .*https://github.com"
    ):
        read()


def test_a_text_without_its_markers_is_damaged(tmp_path, monkeypatch):
    monkeypatch.setenv("EDGEKIT_DATA", str(tmp_path))
    path = tmp_path / "book" / austen.FILE
    path.parent.mkdir(parents=True)
    path.write_text("It is a truth universally acknowledged")
    with pytest.raises(MissingData, match="is damaged: it lacks the lines"):
        austen.read_text()
