"""The demo as it is started and seen: the real server, a real browser, real bundles; and how it starts and ends."""

import http.client
import importlib.metadata
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
from conftest import ENVIRONMENT
from killed import descendants, kill_and_wait
from PIL import Image
from playwright.sync_api import Page, expect, sync_playwright
from tiny_bundle import LABELS, PICTURE, make_bundle, quarter_weights

from edgekit.demo_app.launch import launch
from edgekit.edge_runtime.bundle.bundle import Bundle
from edgekit.edge_runtime.command_line import install
from edgekit.edge_runtime.engines import load
from edgekit.edge_runtime.errors import BundleError, MissingDependency, UsageError
from edgekit.edge_runtime.preprocess.image import load_image

ROOT = Path(__file__).resolve().parents[2]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
FAKE_CAMERA = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
expect.set_options(timeout=90_000)  # a machine that runs other tests at the same time is slow
HOSTILE = ("![x](http://127.0.0.2:9/a.png)", "<img src=http://127.0.0.2:9/b.png>", "c", "d")


def start(folder: Path, *, cwd: Path = ROOT, home: Path | None = None) -> tuple[subprocess.Popen[str], str]:
    """`python -m edgekit.demo_app FOLDER` and the address that it printed."""
    command = [sys.executable, "-m", "edgekit.demo_app", str(folder), "--no-browser"]
    environment = ENVIRONMENT | {"PYTHONPATH": str(ROOT)} | ({"HOME": str(home)} if home else {})
    process = subprocess.Popen(command, cwd=cwd, env=environment, stdout=subprocess.PIPE, text=True)
    line = process.stdout.readline()
    found = re.search(r"http://127\.0\.0\.1:\d+", line)
    assert found, line
    return process, found[0]


def is_served(address: str) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", urlsplit(address).port)) == 0


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundles")
    leaning = quarter_weights()
    leaning[:, 0] += 0.01
    make_bundle(folder, name="quarters-onnx-fp32")
    make_bundle(folder, name="quarters-onnx-w8a8_static", recipe="w8a8_static", weights=leaning)
    make_bundle(folder, name="unsafe-onnx-fp32", model="unsafe", labels=HOSTILE)
    return folder


@pytest.fixture(scope="module")
def address(bundles: Path) -> Iterator[str]:
    process, address = start(bundles)
    yield address
    process.terminate()
    assert process.wait(20) == 0


@pytest.fixture(scope="module")
def browser():
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine; Debian's package is called chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS + FAKE_CAMERA)
        yield browser
        browser.close()


@pytest.fixture
def page(browser, address) -> Iterator[Page]:
    page = browser.new_page(viewport={"width": 1400, "height": 1750})
    hosts: set[str | None] = set()
    page.on("request", lambda request: hosts.add(urlsplit(request.url).hostname))
    page.goto(address)
    yield page
    page.close()
    assert hosts - {None} == {"127.0.0.1"}  # None: pictures inside the page, as data addresses


@pytest.fixture
def screenshots(tmp_path: Path) -> Path:
    folder = Path(os.environ.get("EDGEKIT_SCREENSHOTS") or tmp_path)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def test_a_visitor_uploads_a_picture_and_reads_both_answers(page, bundles, screenshots, tmp_path):
    picture = tmp_path / "corner.png"
    pixels = np.random.default_rng(1).integers(0, 120, (240, 320, 3), np.uint8)
    pixels[120:, :160] += 90  # the bottom left
    Image.fromarray(pixels).save(picture)

    page.get_by_role("radio", name="Upload").click()
    page.locator("input[type=file]").set_input_files(picture)
    expect(page.get_by_test_id("verdict")).to_have_text(f"Both say {LABELS[2]}.")
    for side, name in (("left", "quarters-onnx-fp32"), ("right", "quarters-onnx-w8a8_static")):
        with load(Bundle.open(bundles / name)) as engine:
            direct = engine.run({"image": load_image(picture, PICTURE)})["probabilities"][0]
        assert page.get_by_test_id(f"label-{side}").inner_text() == LABELS[direct.argmax()]
        shown = float(page.get_by_test_id(f"probability-{side}").inner_text().split()[0])
        assert shown == pytest.approx(100 * direct.max(), abs=0.051)
        expect(page.get_by_test_id(f"card-{side}")).to_contain_text(re.compile(r"median of [\d,]+ runs"))
    expect(page.get_by_test_id("stVegaLiteChart")).to_be_visible()
    expect(page.get_by_test_id("tile")).to_have_count(1)
    page.screenshot(path=screenshots / "demo-upload.png")


def test_a_bad_picture_gets_a_message_without_a_trace(page, tmp_path):
    bad = tmp_path / "letter.png"
    bad.write_text("Dear Sir or Madam")
    page.get_by_role("radio", name="Upload").click()
    page.locator("input[type=file]").set_input_files(bad)
    expect(page.get_by_test_id("stAlert").first).to_contain_text("not a picture of a known format")
    page.get_by_role("radio", name="Sample", exact=True).click()
    expect(page.get_by_test_id("verdict")).to_contain_text("Both say top left")
    assert "Traceback" not in page.content()


def test_a_sample_is_clicked_on_a_phone_where_they_disagree(page, screenshots):
    page.set_viewport_size({"width": 390, "height": 2600})
    page.locator(".st-key-grid").get_by_role("radio").last.click()
    expect(page.get_by_test_id("verdict")).to_contain_text("They disagree: bottom right against top left")
    width = page.evaluate("document.documentElement.scrollWidth")
    assert width <= 390  # nothing has to be scrolled sideways
    page.wait_for_timeout(500)  # the chart grows into its place
    page.screenshot(path=screenshots / "demo-phone.png")


def test_a_picture_is_taken_with_the_camera(page):
    page.get_by_role("radio", name="Camera").click()
    page.wait_for_function(
        "document.querySelector('video')?.readyState === 4"
    )  # before that there is no picture to take
    page.get_by_role("button", name="Take Photo").click()
    expect(page.get_by_test_id("verdict")).to_contain_text(re.compile("Both say|They disagree"))
    expect(page.get_by_test_id("seen")).to_have_count(1)  # for a moment the sample that was shown before is there too
    expect(page.get_by_test_id("seen")).to_be_visible()


def test_labels_of_a_hostile_bundle_fetch_nothing(page):
    page.get_by_test_id("stSelectbox").first.click()
    page.get_by_role("option", name="unsafe").click()
    expect(page.get_by_test_id("label-left")).to_have_text(HOSTILE[0])
    expect(page.get_by_test_id("stVegaLiteChart")).to_be_visible()
    assert page.locator("img[src^='http://127.0.0.2']").count() == 0  # and the fixture has seen every request


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_it_ends_cleanly_and_takes_its_server_along(bundles, how):
    process, address = start(bundles)
    assert is_served(address)
    process.send_signal(how)
    assert process.wait(20) == 0
    assert "The demo has ended." in process.stdout.read()
    assert not is_served(address)


def test_its_server_ends_when_it_is_killed(bundles):
    process, address = start(bundles)
    assert kill_and_wait(process, descendants(process.pid)) == set()
    assert not is_served(address)


UNSAFE = """
[server]
enableCORS = false
enableXsrfProtection = false
enableStaticServing = true
address = "0.0.0.0"
allowedHosts = ["*"]
baseUrlPath = "elsewhere"
[client]
showErrorDetails = "full"
"""


@pytest.mark.parametrize("where", ["the current folder", "the home folder"])
def test_no_settings_of_the_users_switch_a_protection_off(bundles, tmp_path, where):
    (tmp_path / ".streamlit").mkdir()
    (tmp_path / ".streamlit" / "config.toml").write_text(UNSAFE)
    process, address = start(bundles, **{"cwd" if where == "the current folder" else "home": tmp_path})
    port = urlsplit(address).port
    answers = {}
    for host, origin in (
        (f"127.0.0.1:{port}", address),
        (f"evil.example:{port}", address),
        ("", "http://evil.example"),
    ):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        upgrade = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13"}
        key = {"Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==", "Origin": origin, "Host": host or f"127.0.0.1:{port}"}
        connection.request("GET", "/_stcore/stream", headers=upgrade | key)
        answers[host, origin] = connection.getresponse().status
        connection.close()
    process.terminate()
    assert process.wait(20) == 0
    assert list(answers.values()) == [101, 403, 403]


def test_no_file_of_the_page_has_the_name_of_a_library():
    """Streamlit puts the page's folder on the path, so that it would be imported in place of that."""
    names = {path.stem for path in (ROOT / "demo_app").glob("*.py")} - {"__init__", "__main__"}
    assert names & (sys.stdlib_module_names | importlib.metadata.packages_distributions().keys()) == set()


def test_no_folder_and_no_bundles(tmp_path):
    with pytest.raises(BundleError, match="no folder"):
        launch(tmp_path / "missing", open_browser=False)
    with pytest.raises(BundleError, match="no bundles in .*quickstart"):
        launch(tmp_path, open_browser=False)


def test_a_port_that_is_taken_or_impossible(bundles):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(UsageError, match=rf"port {port} .*cannot be used: Address already in use.*--port"):
            launch(bundles, port=port, open_browser=False)
    with pytest.raises(UsageError, match="from 1 to 65535, found 70000"):
        launch(bundles, port=70000, open_browser=False)


def test_without_streamlit_it_says_what_to_install(bundles, monkeypatch):
    monkeypatch.setitem(sys.modules, "streamlit", None)
    with pytest.raises(MissingDependency, match=re.escape(install("demo"))):
        launch(bundles, open_browser=False)
