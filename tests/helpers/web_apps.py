"""Web apps for tests: written once, their modules called under Node, served to a browser."""

from __future__ import annotations

import base64
import functools
import http.server
import io
import json
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnx
import pytest
from conftest import ROOT
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from tiny_bundle import make_bundle, onnx_model, quarter_pictures, quarter_weights

from edgekit.edge_runtime.devices.app import write_app
from edgekit.edge_runtime.devices.web.writer import WEB
from edgekit.edge_runtime.errors import MissingDependency

DRIVER = ROOT / "tests" / "readers" / "web_app.mjs"
FP32, INT8 = "quarters-onnx-fp32", "quarters-onnx-w8a8_static"


class _Calibration(CalibrationDataReader):
    def __init__(self) -> None:
        self.left = [{"image": picture[None]} for picture in quarter_pictures(12)[0]]

    def get_next(self) -> dict[str, np.ndarray] | None:
        return self.left.pop() if self.left else None


def int8_model(work: Path) -> bytes:
    """The quarters' model, quantized to QDQ int8."""
    (work / "float.onnx").write_bytes(onnx_model(quarter_weights()))
    quantize_static(
        work / "float.onnx",
        work / "int8.onnx",
        _Calibration(),
        quant_format=QuantFormat.QDQ,
        weight_type=QuantType.QInt8,
        per_channel=True,
    )
    return onnx.load(work / "int8.onnx").SerializeToString()


def quarters(folder: Path, **changes: object) -> list[Path]:
    """The float bundle and the int8 one; `changes` are of the latter."""
    work = folder / "work"
    work.mkdir(parents=True)
    return [
        make_bundle(folder, name=FP32),
        make_bundle(folder, name=INT8, recipe="w8a8_static", model_bytes=int8_model(work), **changes),
    ]


def web_app(bundles: list[Path], out: Path, **options: object) -> Path:
    """Writes the app, or skips the test where npm or Node.js is missing."""
    try:
        write_app(WEB, bundles, out, **options)
    except MissingDependency as error:
        pytest.skip(str(error))
    return out


def encoded(content: bytes) -> str:
    return base64.b64encode(content).decode()


def npy(array: np.ndarray) -> bytes:
    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue()


def call(app: Path, *calls: list) -> list:
    """What the app's modules give for each [what, …arguments]; see tests/readers/web_app.mjs."""
    node = shutil.which("node")
    assert node is not None  # without it there is no app
    done = subprocess.run(
        [node, "--liftoff-only", DRIVER, app], input=json.dumps(calls), capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def array_of(packed: dict) -> np.ndarray:
    return np.frombuffer(base64.b64decode(packed["base64"]), packed["dtype"]).reshape(packed["shape"])


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address at which a plain server, which sends no special headers, hands out the folder."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
