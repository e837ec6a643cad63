"""The README's first command, as a newcomer types it: what it leaves behind and what its last lines say."""

import json
import re

import pytest
from terminal import in_terminal

from edgekit.edge_runtime.benchmark.measurement import load, load_raw
from edgekit.edge_runtime.bundle.bundle import Bundle, find_bundles
from edgekit.edge_runtime.command_line import EDGEKIT

SEVEN = {
    "torchscript_traced-fp32",
    "torchscript_scripted-fp32",
    "onnx-fp32",
    "onnx-w8_dynamic",
    "onnx-w8a8_static",
    "executorch_xnnpack-fp32",
    "executorch_xnnpack-w8a8_static",
}


def test_it_succeeds_and_leaves_seven_verified_bundles(quickstart):
    assert quickstart.returncode == 0, quickstart.stdout + quickstart.stderr
    manifests = [Bundle.open(path).manifest for path in find_bundles(quickstart.bundles)]
    assert {m.name.removeprefix("digits_cnn-") for m in manifests} == SEVEN
    assert {m.status for m in manifests if m.recipe == "fp32"} == {"verified"}
    assert {m.status for m in manifests} <= {*("verified", "undecided")}


def test_every_bundle_keeps_98_percent_accuracy_on_719_digits(quickstart):
    metrics = [Bundle.open(path).manifest.metrics[0] for path in find_bundles(quickstart.bundles)]
    assert {m.samples for m in metrics} == {719}
    assert min(m.value for m in metrics) >= 0.98
    assert all(m.low < m.value <= m.high for m in metrics)


def test_int8_files_are_less_than_half_of_float(quickstart):
    def size(name):
        return Bundle.open(quickstart.bundle(name)).manifest.artifact.bytes

    assert size("onnx-w8a8_static") < 0.5 * size("onnx-fp32")
    assert size("executorch_xnnpack-w8a8_static") < 0.5 * size("executorch_xnnpack-fp32")


def test_the_table_has_a_row_for_each_and_for_the_float_model(quickstart):
    rows = json.loads((quickstart.runs / "digits_cnn" / "results.json").read_text())["rows"]
    names = {row["name"].removeprefix("digits_cnn-") for row in rows}
    others = {f"{name}@openvino" for name in SEVEN if name.startswith("onnx")}
    assert names == SEVEN | others | {"PyTorch eager"}
    for name in SEVEN:
        assert re.search(rf"^ *{name} .* %.*(µs|ms).*MB.*(yes|NO)", quickstart.stdout, re.MULTILINE), name
    assert all(row["p50_ms"] <= row["p90_ms"] <= row["p99_ms"] and row["samples"] >= 300 for row in rows)


def test_every_answer_to_the_validation_split_is_kept(quickstart):
    path = quickstart.runs / "digits_cnn" / "results.json"
    answers, rows = load_raw(path).answers, load(path).rows
    assert {(said.split, len(said.given)) for said in answers.values()} == {("validation", 719)}
    assert [answers[row.name].scores.mean() for row in rows] == pytest.approx([row.metric.value for row in rows])


def test_the_last_lines_say_three_numbers_and_the_next_command(quickstart):
    speed = r"(no difference beyond noise, )?[\d.]+×( faster| slower)? \[[\d.]+, [\d.]+\]"
    numbers = rf"[\d.]+ % of the float accuracy kept, [\d.]+× smaller, {speed}, against PyTorch eager"
    assert re.search(numbers, quickstart.stdout)
    assert f"Next: {EDGEKIT} demo --bundles {quickstart.bundles}" in quickstart.stdout


def test_the_report_lies_beside_the_run(quickstart):
    report = (quickstart.runs / "digits_cnn" / "report.html").read_text()
    assert all(name in report for name in SEVEN)
    assert report.count("<svg") >= 3


def test_nothing_half_written_is_left(quickstart):
    left = [path.name for path in quickstart.bundles.iterdir()]
    assert [name for name in left if name.startswith(".")] == []


@pytest.mark.slow
def test_in_a_terminal_a_bar_shows_how_far_the_measurement_is(quickstart, tmp_path):
    weights = quickstart.runs / "digits_cnn" / "weights.safetensors"
    ways = ["--exporter", "onnx", "--recipe", "fp32", "--quick"]
    shown = in_terminal("optimize", "digits_cnn", "--weights", weights, *ways, cwd=tmp_path)
    assert shown.returncode == 0, shown.text
    assert re.search(r"Measuring, interleaved.*\d+/\d+", shown.text)
    assert shown.text.index("digits_cnn-onnx-fp32") < shown.text.index("reload") < shown.text.index("Measuring")
