"""The web app in a real browser: what a visitor sees, on a phone, in the dark, without a network, and from disk."""

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
from detector_bundle import make_detector_bundle
from form_bundles import letters_bundle, mask_bundle, numbers_bundle
from PIL import Image
from playwright.sync_api import Page, expect, sync_playwright
from tiny_bundle import LABELS, PICTURE, make_bundle
from web_apps import FP32, INT8, quarters, served, web_app

from edgekit.edge_runtime.bundle.bundle import Bundle
from edgekit.edge_runtime.bundle.status import why_of
from edgekit.edge_runtime.engines import load
from edgekit.edge_runtime.preprocess.image import load_image

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
FAKE_CAMERA = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
PHONE = {"width": 390, "height": 844}
HOSTILE = ("</script><script>document.title='taken'</script>", "<img src=http://127.0.0.2:9/b.png>", "c", "d")
expect.set_options(timeout=90_000)  # a machine that runs other tests at the same time is slow


@pytest.fixture(scope="module")
def launch():
    """Starts a browser with these flags."""
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine; Debian's package is called chromium")
    with sync_playwright() as playwright:
        yield lambda flags: playwright.chromium.launch(executable_path=CHROMIUM, args=flags)


@pytest.fixture(scope="module")
def browser(launch):
    browser = launch(FLAGS + FAKE_CAMERA)
    yield browser
    browser.close()


@pytest.fixture(scope="module")
def app(tmp_path_factory) -> Path:
    """The float bundle, and an int8 one whose accuracy was not decided."""
    folder = tmp_path_factory.mktemp("web")
    return web_app(quarters(folder / "bundles", status="undecided"), folder / "app", title="Bright & dark")


@pytest.fixture(scope="module")
def address(app) -> Iterator[str]:
    with served(app) as address:
        yield address


@pytest.fixture
def screenshots(tmp_path: Path) -> Path:
    folder = Path(os.environ.get("EDGEKIT_SCREENSHOTS") or tmp_path)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextmanager
def opened(browser, address: str, **options) -> Iterator[Page]:
    """The page once it has answered its first sample; all that it asks for is at this address."""
    context = browser.new_context(**options)
    page, hosts, errors = context.new_page(), set(), []
    context.on("request", lambda request: hosts.add(urlsplit(request.url).hostname))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(address)
    expect(page.locator("#status")).to_be_hidden()
    expect(page.locator("#verdict")).not_to_be_empty()
    yield page
    context.close()
    assert hosts <= {"127.0.0.1", None, ""}
    assert errors == []


def picture_at(path: Path, **options) -> Path:
    """A picture whose top right is bright, as it lies in the file."""
    pixels = np.random.default_rng(1).integers(0, 120, (240, 320, 3), np.uint8)
    pixels[:120, 160:] += 90
    Image.fromarray(pixels).save(path, **options)
    return path


def of_python(bundle: Path, picture: Path, **options) -> np.ndarray:
    with load(Bundle.open(bundle)) as engine:
        return engine.run({"image": load_image(picture, PICTURE, **options)})["probabilities"][0]


def check_answers(page: Page, app: Path, picture: Path, **options) -> None:
    """Each card has the label and the probability that Python gives for the picture."""
    for card, name in zip(page.locator(".card").all(), (FP32, INT8), strict=True):
        direct = of_python(app.parent / "bundles" / name, picture, **options)
        expect(card.locator(".big b")).to_have_text(LABELS[direct.argmax()])
        shown = float(re.sub(r"[<>\s%]", "", card.locator(".big span").inner_text()))
        assert shown == pytest.approx(100 * direct.max(), abs=0.11)


def test_a_picture_is_answered_as_in_python(browser, address, app, tmp_path, screenshots):
    with opened(browser, address) as page:
        expect(page).to_have_title("Bright & dark")
        assert page.evaluate("crossOriginIsolated") is True  # by its own service worker: the server sends no headers
        for card in page.locator(".card").all():
            expect(card.locator(".pass")).to_have_text("passed")
            close = r"max \|Δ\| [\d.e-]+, \S+ from when it was packed, SQNR [\d.]+\sdB, 100\s% agree on 12 samples"
            expect(card).to_contain_text(re.compile(close))
            expect(card).to_contain_text(re.compile(r"WebAssembly, \d threads?"))
        page.locator("input[type=file]").set_input_files(picture_at(tmp_path / "corner.png"))
        expect(page.locator("#verdict")).to_have_text("Both say top right.")
        check_answers(page, app, tmp_path / "corner.png")
        expect(page.locator("#seen-text")).to_have_text("What the model sees of corner.png: 8 × 8 pixels")
        for card in page.locator(".card").all():
            expect(card).to_contain_text(re.compile(r"median of \d+ runs in this browser"))
        page.screenshot(path=screenshots / "web.png", full_page=True)

        exif = Image.Exif()
        exif[0x0112] = 6  # it has to be turned clockwise: what is bright is then at the bottom right
        turned = picture_at(tmp_path / "turned.jpg", exif=exif, quality=95)
        page.locator("input[type=file]").set_input_files(turned)
        expect(page.locator("#verdict")).to_have_text("Both say bottom right.")
        check_answers(page, app, turned)

        page.get_by_label("Swap black and white").check()
        expect(page.locator("#verdict")).not_to_have_text("Both say bottom right.")
        check_answers(page, app, turned, invert=True)
        (tmp_path / "letter.png").write_text("Dear Sir or Madam")
        page.locator("input[type=file]").set_input_files(tmp_path / "letter.png")
        expect(page.get_by_role("alert")).to_have_text(
            "Not answered: letter.png is no picture that this browser shows. Save it as JPEG or PNG."
        )


def test_a_phone_in_the_dark_with_a_keyboard_and_a_camera(browser, address, screenshots):
    with opened(browser, address, viewport=PHONE, color_scheme="dark", has_touch=True) as page:
        background = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert max(map(int, re.findall(r"\d+", background)[:3])) < 40
        undecided = page.locator(".card", has_text=INT8)
        expect(undecided.locator(".seal")).to_have_text("UNDECIDED")
        expect(undecided).to_contain_text(why_of("undecided"))
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.textContent") == "Skip to the input"
        page.get_by_role("button", name=re.compile("sample 4, which is bottom right")).press("Enter")
        expect(page.locator("#verdict")).to_have_text("Both say bottom right.")
        assert page.locator("#tiles [aria-pressed=true]").count() == 1
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        page.screenshot(path=screenshots / "web-phone-dark.png", full_page=True)
        unnamed = "e => e.filter(b => !(b.ariaLabel || b.textContent.trim() || b.labels?.length)).length"
        assert page.locator("button, input, textarea").evaluate_all(unnamed) == 0
        page.get_by_role("button", name="Use the camera").click()
        page.wait_for_function("document.querySelector('video').readyState === 4")
        page.get_by_role("button", name="Take the picture").click()
        expect(page.locator("#seen-text")).to_contain_text("the camera's picture")
        expect(page.locator("#camera")).to_be_hidden()


def test_it_works_when_the_server_is_gone(browser, app):
    with served(app) as address, opened(browser, address) as page:
        about = page.evaluate("fetch('manifest.webmanifest').then(answer => answer.json())")
        assert (about["name"], about["display"]) == ("Bright & dark", "standalone")
        assert [icon["sizes"] for icon in about["icons"]] == ["192x192", "512x512"]
        gone = urlsplit(address).port
        page.context.route("**/*", lambda route: route.abort())  # what its own worker answers is not routed
        page.reload()
        expect(page.locator("#verdict")).to_have_text("Both say top left.")
        assert urlsplit(page.url).port == gone


def test_one_file_runs_from_disk_and_labels_are_only_text(browser, tmp_path, screenshots):
    bundle = make_bundle(tmp_path, name=FP32, labels=HOSTILE)
    out = web_app([bundle], tmp_path / "app", single_file=True, title="<b>One</b> file")
    assert [path.name for path in out.iterdir()] == ["index.html"]
    page_file = out / "index.html"
    assert 4_000_000 < page_file.stat().st_size < 8_000_000
    picture = picture_at(tmp_path / "corner.png")
    with opened(browser, page_file.as_uri()) as page:
        expect(page).to_have_title("<b>One</b> file")
        expect(page.locator("#verdict")).to_have_text(f"It says {HOSTILE[0]}.")
        page.locator("input[type=file]").set_input_files(picture)
        expect(page.locator("#verdict")).to_have_text(f"It says {HOSTILE[1]}.")
        direct = of_python(bundle, picture)
        shown = page.locator(".card .big span").inner_text()
        assert float(shown.split()[0]) == pytest.approx(100 * direct.max(), abs=0.051)
        expect(page.locator(".card")).to_contain_text("WebAssembly, 1 thread")
        assert page.locator("img").count() == 0
        page.screenshot(path=screenshots / "web-one-file.png", full_page=True)


def test_a_bundle_that_was_changed_is_not_used(browser, app, tmp_path, screenshots):
    copy = tmp_path / "app"
    shutil.copytree(app, copy)
    model = copy / "bundles" / INT8 / "model.onnx"
    content = bytearray(model.read_bytes())
    content[-5] ^= 1
    model.write_bytes(content)
    with served(copy) as address, opened(browser, address) as page:
        changed = page.locator(".card", has_text=INT8)
        expect(changed.get_by_role("alert")).to_contain_text("is not the file that this app was written with")
        expect(page.locator("#verdict")).to_have_text("It says top left.")  # by the other one alone
        expect(changed.locator(".big")).to_have_count(0)
        page.screenshot(path=screenshots / "web-changed.png", full_page=True)


def test_wrong_answers_are_not_used(browser, app, tmp_path):
    """Golden answers that this browser does not give, with hashes that fit, as on a device that computes otherwise."""
    copy = tmp_path / "app"
    shutil.copytree(app, copy)
    contract = copy / "contract.js"
    text = contract.read_text()
    contract.write_text(text.replace('"sqnr_db": 10.0', '"sqnr_db": 190.0'))
    assert contract.read_text() != text
    page = browser.new_page()
    with served(copy) as address:
        page.goto(address)
        expect(page.locator("#status")).to_have_text(
            "No bundle of this app can be used in this browser. Each says why."
        )
        expect(page.locator(".card .fail")).to_have_text(["failed", "failed"])
        expect(page.locator(".card [role=alert]").first).to_contain_text("are not the recorded ones")
        expect(page.locator("#input")).to_be_hidden()
    page.close()


def test_boxes_are_drawn_and_counted(browser, tmp_path, screenshots):
    out = web_app([make_detector_bundle(tmp_path / "bundles")], tmp_path / "app")
    with served(out) as address, opened(browser, address, viewport=PHONE) as page:
        pixels = np.full((64, 96, 3), 20, np.uint8)
        pixels[16:32, 24:48] = 250  # one window of 4 x 4, once the picture is 16 x 16
        Image.fromarray(pixels).save(tmp_path / "block.png")
        page.locator("input[type=file]").set_input_files(tmp_path / "block.png")
        expect(page.locator("#verdict")).to_have_text("It says block.")
        canvas = page.locator(".drawn")
        expect(canvas).to_have_attribute("aria-label", "The picture, with boxes over it: block")
        pink = canvas.evaluate(
            """canvas => { const { width, height } = canvas, scale = width / 96;
              const data = canvas.getContext("2d").getImageData(0, 0, width, height).data, found = [];
              const below = 20 * scale * width; // and not the label above the box
              for (let i = below; i < width * height; i++) if (data[4*i] === 255 && data[4*i+1] === 77) found.push(i);
              const xs = found.map(i => i % width / scale), ys = found.map(i => Math.floor(i / width) / scale);
              return [Math.min(...xs), Math.max(...xs), Math.max(...ys)]; }"""
        )
        assert pink == pytest.approx([24, 48, 32], abs=1)
        page.screenshot(path=screenshots / "web-boxes.png", full_page=True)


@pytest.mark.slow
def test_arrays_are_given_as_files(browser, tmp_path, screenshots):
    bundle = make_bundle(tmp_path, name=FP32, pictures=False)
    out = web_app([bundle], tmp_path / "app")
    with served(out) as address, opened(browser, address) as page:
        assert page.locator("#typed").count() == 0  # (1, 8, 8, 1) is given as a file of arrays
        array = np.zeros((1, 8, 8, 1), np.uint8)
        array[0, 4:, :4] = 200
        np.save(tmp_path / "x.npy", array)
        np.save(tmp_path / "y.npy", array[0, :4])
        page.locator("input[type=file]").set_input_files(tmp_path / "x.npy")
        expect(page.locator("#verdict")).to_have_text("It says bottom left.")
        page.locator("input[type=file]").set_input_files(tmp_path / "y.npy")
        expect(page.get_by_role("alert")).to_have_text("Not answered: image takes 64 numbers, found 32. Give as many.")
        page.screenshot(path=screenshots / "web-arrays.png", full_page=True)


@pytest.mark.slow
def test_numbers_and_text_are_typed_and_a_mask_is_drawn(browser, tmp_path, screenshots):
    numbers = web_app([numbers_bundle(tmp_path / "bundles")], tmp_path / "numbers")
    with served(numbers) as address, opened(browser, address) as page:
        page.get_by_label("3 numbers, with commas between them").fill("1.5, -2, 4")
        page.get_by_role("button", name="Answer").click()
        expect(page.locator("#verdict")).to_have_text("It says -2.5, -14.")
        assert page.locator(".rows li").all_inner_texts() == ["width in mm\n-2.5", "height in mm\n-14"]
        for typed, said in (("1, 2", "row takes 3 numbers, found 2"), ("1, 2, x", "not all of these are")):
            page.get_by_label("3 numbers").fill(typed)
            page.get_by_role("button", name="Answer").click()
            expect(page.get_by_role("alert")).to_contain_text(said)
        page.screenshot(path=screenshots / "web-numbers.png", full_page=True)

    letters = web_app([letters_bundle(tmp_path / "bundles")], tmp_path / "letters")
    with served(letters) as address, opened(browser, address) as page:
        page.get_by_label("Text to go on from").fill("Do re mi: AB")
        page.get_by_role("button", name="Answer").click()
        expect(page.locator("#verdict")).to_have_text("It says c.")
        expect(page.locator(".big span")).to_have_text("70.0\u00a0%")
        page.screenshot(path=screenshots / "web-text.png", full_page=True)

    mask = web_app([mask_bundle(tmp_path / "bundles")], tmp_path / "mask")
    with served(mask) as address, opened(browser, address, viewport=PHONE) as page:
        page.locator("input[type=file]").set_input_files(picture_at(tmp_path / "corner.png"))
        direct = load_image(tmp_path / "corner.png", PICTURE)
        share = (direct / np.float32(255) >= 0.5).mean()
        assert 0.1 < share < 0.4
        expect(page.locator("#verdict")).to_have_text(f"It says bright in {100 * share:.1f} % of the picture.")
        expect(page.locator(".drawn")).to_have_attribute("aria-label", re.compile("with a mask over it"))
        page.screenshot(path=screenshots / "web-mask.png", full_page=True)


@pytest.mark.slow
def test_webgpu_is_used_where_its_answers_are_right(launch, tmp_path):
    """On a graphics processor that Chromium computes in software. Where there is none the page takes WebAssembly."""
    out = web_app(quarters(tmp_path / "bundles"), tmp_path / "app", webgpu=True)
    software = ["--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader", "--enable-features=Vulkan"]
    for flags, back_end in ((FLAGS, "WebAssembly"), (["--no-sandbox", "--ignore-gpu-blocklist", *software], "WebGPU")):
        browser = launch(flags)
        with served(out) as address, opened(browser, address) as page:
            if back_end == "WebGPU" and not page.evaluate("navigator.gpu.requestAdapter().then(Boolean)"):
                pytest.skip("this Chromium has no graphics processor in software")
            for card in page.locator(".card").all():
                expect(card.locator(".pass")).to_have_text("passed")
                expect(card.locator("dl")).to_contain_text(f"Back end{back_end}")
        browser.close()
