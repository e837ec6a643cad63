"""LUNA16's lists: the real ones counted and split as the book does, and small ones that are wrong in one way each."""

import pytest

from edgekit.edge_runtime.errors import InputError, MissingData
from edgekit.train.data.luna import (
    ANNOTATIONS,
    CANDIDATES,
    MALIGNANCY,
    Annotation,
    Candidate,
    read_annotations,
    read_candidates,
    read_series,
    scans,
    split_series,
    with_malignancy,
)

HEAD = "seriesuid,coordX,coordY,coordZ,class\n"


@pytest.fixture(scope="module")
def real(data_root):
    folder = data_root / "book" / "part2" / "luna"
    if not folder.is_dir() or not (data_root / "luna" / "csv").is_dir():
        pytest.skip(f"LUNA16's lists are not in {data_root}")
    series = read_series(data_root / "luna" / "csv" / "seriesuids.csv")
    return read_annotations(folder / ANNOTATIONS), read_annotations(folder / MALIGNANCY), series


def annotation(x, *, diameter, malignant=None, uid="a"):
    return Annotation(series_uid=uid, center_mm=(x, 0.0, 0.0), diameter_mm=diameter, malignant=malignant, where="")


def candidate(x, *, nodule=True, diameter=0.0, uid="a", malignant=False):
    return Candidate(
        nodule=nodule, malignant=malignant, diameter_mm=diameter, series_uid=uid, center_mm=(x, 0.0, 0.0), where=""
    )


def test_the_annotations_are_the_books(real):
    annotations, with_details, _ = real
    assert (len(annotations), len({one.series_uid for one in annotations})) == (1186, 601)
    assert (len(with_details), len({one.series_uid for one in with_details})) == (1182, 600)
    assert sum(one.malignant for one in with_details) == 378


def test_the_split_by_series_is_the_books(real):
    _, with_details, series = real
    train, validation = split_series(series)
    assert (len(series), len(train), len(validation)) == (888, 799, 89)
    counts = {True: [0, 0], False: [0, 0]}
    for one in with_details:
        counts[one.series_uid in set(validation)][one.malignant] += 1
    assert counts == {False: [702, 326], True: [102, 52]}


def test_chapter_14_takes_nodules_from_the_annotations_malignant_and_large_ones_first():
    annotations = [annotation(1, diameter=30, malignant=False), annotation(2, diameter=5, malignant=True)]
    found = with_malignancy([candidate(9), candidate(3, nodule=False)], annotations)
    assert [(one.center_mm[0], one.nodule, one.malignant) for one in found] == [
        (2, True, True),
        (1, True, False),
        (3, False, False),
    ]


def test_candidates_of_other_series_are_left_out(tmp_path):
    (tmp_path / CANDIDATES).write_text(HEAD + "a,1,2,3.5,0\nb,1,2,3,1\n")
    (only,) = read_candidates(tmp_path / CANDIDATES, series={"b"})
    assert (only.nodule, only.center_mm, only.where) == (True, (1, 2, 3), f"{tmp_path / CANDIDATES}, line 3")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "seriesuid,x,y,z,class\n",
            r"candidates.csv, line 1 should name the columns seriesuid,coordX,coordY,coordZ,class",
        ),
        ("", "line 1 should name the columns"),
        (HEAD + "a,1,2,3,0\na,1,2,3\n", "candidates.csv, line 3 should have 5 fields, found 4"),
        (HEAD + "a,1,two,3,0\n", "candidates.csv, line 2, column 'coordY': 'two' is not a number"),
        (HEAD + "a,1,2,inf,0\n", "column 'coordZ': 'inf' is not a number"),
        (HEAD + "a,1,2,3,2\n", "column 'class': '2' is neither 0 nor 1"),
    ],
)
def test_a_wrong_line_is_named(tmp_path, text, message):
    (tmp_path / CANDIDATES).write_text(text)
    with pytest.raises(InputError, match=message):
        read_candidates(tmp_path / CANDIDATES)


def test_what_is_neither_malignant_nor_not_is_named(tmp_path):
    details = "mal_bool,mal_details,bboxLowX,bboxLowY,bboxLowZ,bboxHighX,bboxHighY,bboxHighZ,len_mal_details"
    head = f"seriesuid,coordX,coordY,coordZ,diameter_mm,{details}\n"
    (tmp_path / MALIGNANCY).write_text(head + 'a,1,2,3,4,maybe,"[4, 2]",1,1,1,2,2,2,2\n')
    with pytest.raises(InputError, match="line 2, column 'mal_bool': 'maybe' is neither True nor False"):
        read_annotations(tmp_path / MALIGNANCY)


def test_files_that_are_not_there_or_no_text(tmp_path):
    with pytest.raises(MissingData, match=r"annotations.csv is not there. It comes with LUNA16"):
        read_annotations(tmp_path / ANNOTATIONS)
    with pytest.raises(MissingData, match="there are no scans in"):
        scans(tmp_path)
    (tmp_path / CANDIDATES).write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="byte 0 is not UTF-8 text"):
        read_candidates(tmp_path / CANDIDATES)
