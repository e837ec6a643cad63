"""Chapter 14's diameter baseline from the real lists: the book's area, and the figure that shows it."""

import pytest

from edgekit.edge_runtime.errors import MissingData
from edgekit.train.nodules.diameter_baseline import measure_baseline, series_list
from edgekit.train.reproduction import report as reproduction_report
from edgekit.train.reproduction import results as reproduction
from edgekit.train.reproduction.diameter_lines import lines


@pytest.fixture(scope="module")
def found(data_root):
    if not series_list().is_file() or not (data_root / "book" / "part2" / "luna").is_dir():
        pytest.skip(f"LUNA16's lists are not in {data_root}")
    return measure_baseline()


def test_the_area_is_the_books(found):
    assert (found.benign, found.malignant) == (102, 52)
    assert (round(found.curve.area, 5), round(found.exact_area, 5)) == (0.90149, 0.90140)
    assert (found.curve.thresholds[0], found.curve.thresholds[-1]) == pytest.approx((22.78, 3.25), abs=0.005)


def test_every_printed_figure_agrees_in_every_digit(found):
    made = lines(found)
    assert len(made) == 6
    assert all(line.agreed[0] == line.agreed[1] for line in made), made


def test_the_report_shows_the_curve(found, tmp_path):
    results = reproduction.chapter_results(14, tmp_path, device="cpu")
    pages = reproduction_report.render([results])
    chance = b"exactly, as the chance that a malignant nodule is larger than a benign one: 0.90140"
    assert chance in pages["REPRODUCTION.md"]
    assert b"<svg" in pages["images/reproduction-14-cpu-roc.svg"]
    assert pages == reproduction_report.render([results])


def test_without_the_lists_the_chapter_has_no_baseline(tmp_path, monkeypatch):
    monkeypatch.setenv("EDGEKIT_DATA", str(tmp_path))
    with pytest.raises(MissingData, match="seriesuids.csv is not there"):
        measure_baseline()
    notes = []
    results = reproduction.chapter_results(14, tmp_path, device="cpu", on_note=notes.append)
    assert results["lines"] == []
    assert any("the diameter baseline of chapter 14 is left out" in note for note in notes)
