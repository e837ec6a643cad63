"""The page as a visitor drives it, without a browser: real bundles, real workers, Streamlit's own test driver."""

import io
import os
import re
import signal
import struct
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
import streamlit.config
from key_pair import write_pair
from PIL import Image
from streamlit.testing.v1 import AppTest
from tiny_bundle import LABELS, PICTURE, change_manifest, make_bundle, probabilities, quarter_pictures, quarter_weights

import edgekit.demo_app.app
from edgekit.demo_app import cached
from edgekit.edge_runtime.bundle import signature
from edgekit.edge_runtime.bundle.bundle import Bundle
from edgekit.edge_runtime.preprocess.image import load_image

APP = Path(edgekit.demo_app.app.__file__)
NEARLY_A_TIE = 11  # the golden sample about which the two models disagree


def leaning() -> np.ndarray:
    """Weights that lean to the top left, as a coarsely quantized model might."""
    weights = quarter_weights()
    weights[:, 0] += 0.01
    return weights


def make_pair(folder):
    make_bundle(folder, name="quarters-onnx-fp32")
    make_bundle(folder, name="quarters-onnx-w8a8_static", recipe="w8a8_static", weights=leaning())
    return folder


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """One folder for the tests that only look: its workers start once, as they do for a visitor."""
    return make_pair(tmp_path_factory.mktemp("pair"))


@pytest.fixture(scope="module", autouse=True)
def end_workers():
    yield
    cached._runner.clear()
    cached.open_bundle.clear()


@pytest.fixture
def page(monkeypatch):
    def start(folder):
        monkeypatch.setattr(sys, "argv", [str(APP), str(folder)])
        return checked(AppTest.from_file(APP, default_timeout=60).run())

    return start


def checked(at):
    assert [error.message for error in at.exception] == []
    return at


def text(at, test_id):
    """What the element with this data-testid says, in whichever piece of HTML it is."""
    bodies = " ".join(element.body for element in at.html)
    found = re.search(rf'data-testid="{test_id}"[^>]*>(.*?)</(?:span|div|article)>', bodies, re.DOTALL)
    return re.sub(r"<[^>]+>", "", found[1]) if found else None


def metrics(at):
    return {metric.label: metric.value for metric in at.metric}


def png(pixels):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def upload(at, content):
    at.segmented_control(key="way").set_value("Upload").run()
    return checked(at.file_uploader(key="upload").upload("picture.png", content, "image/png").run())


def test_a_model_a_full_and_a_quantized_bundle_are_chosen_first(page, pair):
    at = page(pair)
    chosen = [at.selectbox(key=key).value for key in ("model", "left", "right")]
    assert chosen == ["quarters", str(pair / "quarters-onnx-fp32"), str(pair / "quarters-onnx-w8a8_static")]
    assert (text(at, "label-left"), text(at, "label-right")) == (LABELS[0], LABELS[0])


def test_a_sample_on_which_they_disagree_is_called_so(page, pair):
    at = page(pair)
    checked(at.pills(key="sample").set_value(NEARLY_A_TIE).run())
    assert text(at, "verdict") == "They disagree: bottom right against top left. The true label is bottom right."
    pixels = quarter_pictures()[0][NEARLY_A_TIE:][:1]
    shown = [float(text(at, f"probability-{side}").split()[0]) for side in ("left", "right")]
    direct = [100 * probabilities(pixels, weights).max() for weights in (quarter_weights(), leaning())]
    assert shown == pytest.approx(direct, abs=0.051)


def test_all_golden_samples_are_gone_through(page, pair):
    at = page(pair)
    pixels = quarter_pictures()[0]
    largest = np.abs(probabilities(pixels, quarter_weights()) - probabilities(pixels, leaning())).max()
    assert metrics(at) == {
        "Agree": "11 of 12",
        "Agreement": "91.7 %",
        "Largest |Δp|": f"{largest:.3f}",
        "Correct, left": "12 of 12",
        "Correct, right": "11 of 12",
    }
    assert "".join(element.body for element in at.html).count('data-testid="tile"') == 1


def test_an_uploaded_picture_is_answered_as_the_model_answers_it(page, pair):
    content = png(np.kron(np.uint8([[20, 20], [20, 230]]), np.ones((90, 120), np.uint8)))
    at = upload(page(pair), content)
    direct = probabilities(load_image(content, PICTURE), quarter_weights())
    assert (text(at, "label-left"), text(at, "label-right")) == (LABELS[3], LABELS[3])
    assert float(text(at, "probability-left").split()[0]) == pytest.approx(100 * direct.max(), abs=0.051)
    checked(at.checkbox(key="invert").check().run())
    assert text(at, "label-left") != LABELS[3]


def huge_png():
    """A small file whose header promises 30,000 × 30,000 pixels."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


BAD_PICTURES = {
    "a letter": (b"this is a letter, not a picture", "not a picture"),
    "huge": (huge_png(), "30,000 × 30,000"),
    "cut short": (huge_png()[:20], "damaged"),
}


@pytest.mark.parametrize("kind", BAD_PICTURES)
def test_a_bad_upload_gets_a_message_and_the_page_goes_on(page, pair, kind):
    content, message = BAD_PICTURES[kind]
    at = upload(page(pair), content)
    assert [message in error.value for error in at.error] == [True]
    checked(at.segmented_control(key="way").set_value("Sample").run())
    assert len(at.error) == 0
    assert text(at, "label-left") == LABELS[0]


@pytest.mark.parametrize("name", ["server.enableCORS", "server.enableXsrfProtection"])
def test_nothing_is_shown_by_a_server_without_its_protections(page, pair, name):
    streamlit.config.set_option(name, False)
    try:
        at = page(pair)
    finally:
        streamlit.config.set_option(name, True)
    assert [error.value.split(",")[0] for error in at.error] == [f"This server was started without {name}"]
    assert len(at.selectbox) == 0


def test_nothing_is_shown_by_a_server_that_lets_pages_of_others_in(page, pair):
    streamlit.config.set_option("server.corsAllowedOrigins", ["https://example.org"])
    try:
        at = page(pair)
    finally:
        streamlit.config.set_option("server.corsAllowedOrigins", [])
    assert [error.value.split(" https")[0] for error in at.error] == ["This server lets pages of"]
    assert len(at.selectbox) == 0


def test_with_a_key_only_bundles_signed_for_it_are_shown(monkeypatch, tmp_path):
    folder = make_pair(tmp_path / "bundles")
    (private, public), (_, other) = write_pair(tmp_path, "maker"), write_pair(tmp_path, "other")
    signature.sign(folder / "quarters-onnx-fp32", private)
    for key, refused in ((public, 1), (other, 2)):
        monkeypatch.setattr(sys, "argv", [str(APP), str(folder), f"--key={key}"])
        at = checked(AppTest.from_file(APP, default_timeout=60).run())
        assert at.expander[0].label.startswith(f"{refused} bundle")
        assert len(at.selectbox) == (3 if refused == 1 else 0)


def test_a_damaged_bundle_is_listed_as_refused_and_the_rest_works(page, tmp_path):
    damaged = make_bundle(make_pair(tmp_path), name="quarters-onnx-w8_dynamic")
    (damaged / "model.onnx").write_bytes(b"?" * (damaged / "model.onnx").stat().st_size)
    at = page(tmp_path)
    assert [expander.label for expander in at.expander] == ["1 bundle in this folder was refused"]
    assert "SHA\\-256 differs" in at.expander[0].markdown[0].value
    assert text(at, "label-right") == LABELS[0]


def test_a_bundle_that_runs_code_is_listed_as_not_loaded(page, tmp_path):
    change_manifest(make_bundle(make_pair(tmp_path), name="quarters-ts"), artifact={"format": "torchscript"})
    at = page(tmp_path)
    assert [expander.label for expander in at.expander] == ["1 bundle not loaded, because it runs code"]
    assert "add \\-\\-allow torchscript" in at.expander[0].markdown[0].value
    assert text(at, "label-right") == LABELS[0]


def test_a_folder_of_damaged_bundles_only(page, tmp_path):
    (make_bundle(tmp_path, name="broken") / "golden.npz").unlink()
    at = page(tmp_path)
    assert "No readable bundle" in at.error[0].value
    assert len(at.selectbox) == 0


def test_an_unverified_bundle_says_so_loudly(page, tmp_path):
    make_bundle(tmp_path, name="a")
    make_bundle(tmp_path, name="b", recipe="w8a8_static", status="unverified")
    at = page(tmp_path)
    assert "UNVERIFIED" in text(at, "card-right")
    assert "UNVERIFIED" not in text(at, "card-left")
    assert at.selectbox(key="right").options[1] == "b · UNVERIFIED"


def test_a_file_that_its_engine_refuses_takes_only_its_own_answer(page, tmp_path):
    make_bundle(tmp_path, name="a")
    make_bundle(tmp_path, name="b", recipe="w8a8_static", model_bytes=b"no model at all")
    at = page(tmp_path)
    assert (text(at, "label-left"), text(at, "label-right")) == (LABELS[0], None)
    assert "b gave no answer" in at.error[0].value


def test_a_worker_that_was_killed_is_replaced_by_the_next_question(page, pair):
    at = page(pair)
    crashed = cached.runner(Bundle.open(pair / "quarters-onnx-fp32"))
    os.kill(crashed._worker._process.pid, signal.SIGKILL)
    at.pills(key="sample").set_value(1).run()
    assert "killed by SIGKILL" in at.error[0].value
    checked(at.pills(key="sample").set_value(2).run())
    assert len(at.error) == 0
    assert text(at, "label-left") == LABELS[2]


@pytest.mark.parametrize("changes", [{"task": "unheard_of"}, {"pictures": False}, {"task": "?", "pictures": False}])
def test_an_unknown_task_or_input_still_shows_golden_samples(page, tmp_path, changes):
    make_bundle(tmp_path, name="a", **changes)
    make_bundle(tmp_path, name="b", recipe="w8a8_static", weights=leaning(), **changes)
    at = page(tmp_path)
    checked(at.pills(key="sample").set_value(1).run())
    known = "task" not in changes
    assert (text(at, "label-left"), len(at.dataframe)) == ((LABELS[1], 0) if known else (None, 1))
    assert ("Agree" in metrics(at), "Largest difference" in metrics(at)) == (known, not known)


def test_a_single_bundle_is_compared_with_itself(page, tmp_path):
    make_bundle(tmp_path, name="alone")
    at = page(tmp_path)
    assert at.selectbox(key="left").value == at.selectbox(key="right").value
    assert text(at, "ratios").startswith("Right against left same size")


def test_bundles_of_another_model_come_with_the_model(page, tmp_path):
    make_bundle(make_pair(tmp_path), name="other-fp32", model="other", labels=("a", "b", "c", "d"), samples=4)
    at = page(tmp_path)
    checked(at.selectbox(key="model").set_value("quarters").run())
    checked(at.pills(key="sample").set_value(NEARLY_A_TIE).run())  # which the other one does not have
    checked(at.selectbox(key="model").set_value("other").run())
    assert at.selectbox(key="left").value == str(tmp_path / "other-fp32")
    assert text(at, "label-left") in "abcd"


def test_labels_are_text_and_never_markup(page, tmp_path):
    labels = ("<img src=x onerror=alert(1)>", "![x](http://example.org/x.png)", ":red[x]", "$x$ `y`")
    make_bundle(tmp_path, name="a", labels=labels)
    at = page(tmp_path)
    bodies = " ".join(element.body for element in at.html)
    assert "&lt;img src=x" in bodies
    assert "<img src=x" not in bodies
    assert [option for option in at.pills(key="sample").options if re.search(r"(?<!\\)\]\(http", option)] == []


def test_latency_is_kept_from_sample_to_sample_and_measured_again_on_request(page, pair):
    def latencies(at):
        (found,) = at.session_state["latencies"].values()
        return found

    at = page(pair)
    first = latencies(at)
    assert min(side.runs for side in first) >= 30
    assert all(0 < side.median_ms <= side.p90_ms for side in first)
    checked(at.pills(key="sample").set_value(4).run())
    assert latencies(at) == first
    checked(at.button(key="measure").click().run())
    assert latencies(at)[0].at > first[0].at
