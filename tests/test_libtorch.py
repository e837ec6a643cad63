"""The book's LibTorch program, built against the installed torch by the line that stands in it, and run."""

import re
import shutil
import subprocess

import numpy as np
import pytest
from conftest import ROOT
from PIL import Image

from edgekit.edge_runtime.devices.linux import toolchain

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.slow
SOURCE = ROOT / "examples" / "libtorch" / "main.cpp"


class Inverted(torch.nn.Module):
    """A picture in, its negative out."""

    def forward(self, image):
        return 1 - image.permute(0, 3, 1, 2).to(torch.float32) / 255


class Brightness(torch.nn.Module):
    """Three numbers: the mean of each channel."""

    def forward(self, image):
        return image.to(torch.float32).mean((1, 2)) / 255


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    if shutil.which("g++") is None or toolchain.stb_folder() is None:
        pytest.skip("no g++ or no stb_image.h (apt-get install g++ libstb-dev)")
    folder = tmp_path_factory.mktemp("libtorch")
    shutil.copy(SOURCE, folder)
    line = " ".join(re.findall(r"^//   +(g\+\+.*|-Wl.*|    -.*)$", SOURCE.read_text(), re.MULTILINE))
    line = line.replace("/usr/include/stb", toolchain.stb_folder()).replace("$T", torch.__path__[0])
    done = subprocess.run(line.split(), cwd=folder, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr[:2000]
    return folder / "libtorch-run"


def traced(module, path, pixels):
    torch.jit.trace(module, torch.from_numpy(pixels)[None]).save(str(path))
    Image.fromarray(pixels).save(path.with_suffix(".png"))
    return path, path.with_suffix(".png")


def test_a_traced_file_and_a_picture_give_a_picture(program, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    model, picture = traced(Inverted(), tmp_path / "model.ts", pixels)
    subprocess.run([program, model, picture, tmp_path / "out.ppm"], check=True)
    np.testing.assert_array_equal(np.array(Image.open(tmp_path / "out.ppm")), 255 - pixels)


def test_a_row_of_numbers_is_printed_the_largest_first(program, tmp_path):
    pixels = np.full((4, 4, 3), (51, 204, 102), np.uint8)
    model, picture = traced(Brightness(), tmp_path / "model.ts", pixels)
    assert subprocess.check_output([program, model, picture], text=True) == "1  0.8\n2  0.4\n0  0.2\n"


def test_what_cannot_be_read_is_one_line(program, tmp_path):
    pixels = np.zeros((4, 4, 3), np.uint8)
    model, picture = traced(Brightness(), tmp_path / "model.ts", pixels)
    (tmp_path / "damaged.ts").write_bytes(model.read_bytes()[:100])
    for words in ((tmp_path / "damaged.ts", picture), (model, tmp_path / "none.png")):
        done = subprocess.run([program, *words], capture_output=True, text=True)
        assert (done.returncode, done.stderr.count("\n")) == (1, 1)
