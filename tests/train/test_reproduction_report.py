"""What `reproduce` says of finished runs, unfinished ones and models left out: results files, the page, its figures."""

import re
from dataclasses import replace

import pytest
import torch
from conftest import ROOT

from edgekit.edge_runtime.errors import EdgekitError, Interrupted
from edgekit.train.loop.fit import fit
from edgekit.train.registry import book_model
from edgekit.train.reproduction import lines as reproduction_lines
from edgekit.train.reproduction import report as reproduction_report
from edgekit.train.reproduction import results as reproduction
from edgekit.train.reproduction import skip_note
from edgekit.train.reproduction.lines import Line

DIGITS = book_model("digits_cnn")


def test_a_model_that_is_left_out_is_in_the_report_with_its_time(tmp_path):
    skip_note.write(DIGITS, tmp_path, device="cpu", seeds=3)
    (entry,) = (
        e for e in reproduction.chapter_results(1, tmp_path, device="cpu")["not_run"] if e["model"] == "digits_cnn"
    )
    assert re.match(
        r"left out as too long for this device: 3 runs of 30 epochs would take about \d+ (s|min) ", entry["reason"]
    )


def test_a_run_that_went_on_on_another_device_is_told_with_its_parts(tmp_path):
    folder, config = tmp_path / "seed-123" / DIGITS.name, replace(DIGITS.fit, epochs=2)
    with pytest.raises(Interrupted):
        fit(DIGITS, folder, config=config, device="cpu", on_epoch=stop_after_one)
    state = torch.load(folder / "resume.pt", weights_only=True)
    torch.save(state | {"devices": {"cuda: NVIDIA H100": 1}}, folder / "resume.pt")
    fit(DIGITS, folder, config=config, device="cpu", go_on=True)
    page = reproduction_report.render([reproduction.chapter_results(1, tmp_path, device="cpu", epochs=2)])
    said = "Seed 123 was trained for 1 epoch on cuda: NVIDIA H100, then 1 epoch on cpu, 1 thread."
    assert said in page[reproduction_report.DOCUMENT].decode()


def test_the_report_says_how_far_the_figure_swung_at_the_end(tmp_path):
    folder, config = tmp_path / "seed-123" / DIGITS.name, replace(DIGITS.fit, epochs=20)
    last = [
        epoch.validation["accuracy"] for epoch in fit(DIGITS, folder, config=config, device="cpu").record.curve[-2:]
    ]
    page = reproduction_report.render([reproduction.chapter_results(1, tmp_path, device="cpu", epochs=20)])
    said = f"Over the last tenth of the epochs it went from {min(last):.1%} to {max(last):.1%}.".replace("%", " %")
    assert said in page[reproduction_report.DOCUMENT].decode()


def test_an_unfinished_run_is_in_the_report_with_how_far_it_came(tmp_path):
    with pytest.raises(Interrupted):
        fit(DIGITS, tmp_path / "seed-123" / DIGITS.name, device="cpu", on_epoch=stop_after_one)
    (entry,) = (
        e for e in reproduction.chapter_results(1, tmp_path, device="cpu")["not_run"] if e["model"] == "digits_cnn"
    )
    assert re.fullmatch(
        r"not finished: seed 123 at epoch 1 of 30 \(loss \d\.\d{4}; accuracy 0\.\d{4}\)", entry["reason"]
    )


def stop_after_one(record):
    raise KeyboardInterrupt


def test_a_damaged_result_is_named(tmp_path):
    (tmp_path / "reproduction-8-cpu.json").write_text("{")
    with pytest.raises(EdgekitError, match="reproduction-8-cpu.json is not a result of `.*edgekit reproduce`"):
        reproduction_report.load(tmp_path)


def test_the_committed_page_is_what_the_committed_results_say():
    for name, content in reproduction_report.render(reproduction_report.load(ROOT / "results")).items():
        assert (ROOT / "docs" / name).read_bytes() == content, "run: python -m experiments.docs"


def test_chapter_5_agrees_with_the_book_in_all_but_the_last_digit_of_seven():
    lines = reproduction_lines.chapter_5()
    short = {line.what: line.agreed for line in lines if line.agreed[0] < line.agreed[1]}
    assert len(lines) == 84
    assert all(agreed >= min(digits - 1, 6) for agreed, digits in short.values()), short
    assert next(line.ours for line in lines if line.what == "loss, epoch 11") == "inf"


@pytest.mark.parametrize(
    ("book", "ours", "agreed"),
    [
        ("29.1052", "29.1052", (6, 6)),
        ("1763.8846", "1763.8848", (7, 8)),
        ("5802485.5", "5802484.5", (6, 8)),
        ("29.1052", "2.9105", (0, 6)),
        ("-0.0438", "0.0438", (0, 3)),
        ("9.09e+34", "9.09e+33", (0, 3)),
        ("inf", "inf", (3, 3)),
    ],
)
def test_digits_agree_from_the_left(book, ours, agreed):
    assert Line(run="", what="", book=book, ours=ours).agreed == agreed


def test_chapter_1_compares_both_representations_with_a_figure_that_is_the_same_again(tmp_path):
    for model in map(book_model, ("digits_cnn", "digits_features")):
        fit(model, tmp_path / "runs" / "seed-123" / model.name, config=replace(model.fit, epochs=1), device="cpu")
    results = reproduction.chapter_results(1, tmp_path / "runs", device="cpu", epochs=1)
    first, second = reproduction_report.render([results]), reproduction_report.render([results])
    assert first == second
    assert b"<svg" in first["images/reproduction-1-cpu-representation.svg"]
    assert "features made by hand" in first["REPRODUCTION.md"].decode()
