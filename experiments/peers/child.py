"""One raw library, or one of our bundles, in a process of its own: `python -m experiments.peers.child ENGINE FILE …`.

Speaks the protocol of `edgekit.edge_runtime.worker.child`. It is run by the interpreter of the library's environment,
so that it imports numpy, edgekit's device side, and the library. Each is called as its own documentation calls it.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import inspect
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.edge_runtime import Bundle, load_engine
from edgekit.edge_runtime.arrays import Arrays
from edgekit.edge_runtime.errors import UsageError
from edgekit.edge_runtime.worker.child import serve

_ONLY = ("onnxruntime", "executorch")  # each runs its format where nothing else can be chosen
Call = Callable[[np.ndarray], np.ndarray]
"""One sample in, one answer out."""
ANSWER = "answer"
BY_PIXEL = ".by_pixel"  # beside a file that takes (N, H, W, C)


class Raw:
    """What `serve` takes for an engine: no check stands between the caller and the library."""

    def __init__(self, call: Call, version: str):
        self._call = call
        self.version = version

    def run(self, arrays: Mapping[str, np.ndarray]) -> Arrays:
        return {ANSWER: self._call(arrays["input"])}


class OfBundle:
    """One of our bundles, called as a user calls it: every check of `Engine.run` is part of its time.

    Several threads wait for the next run at full speed, as those of the raw libraries do when they are left alone.
    """

    def __init__(self, path: Path, engine: str, threads: int):
        bundle = Bundle.open(path)
        known = inspect.signature(load_engine).parameters
        chosen: dict[str, Any] = {"spin": True} if threads > 1 and "spin" in known else {}
        if "engine" in known:
            chosen["engine"] = engine
        elif engine not in _ONLY:
            raise UsageError(f"this edgekit has no engine {engine!r} to choose for a bundle")
        self._engine = load_engine(bundle, num_threads=threads, **chosen)
        self._name, self._first = bundle.manifest.inputs[0].name, bundle.manifest.outputs[0].name
        self.version = self._engine.version

    def run(self, arrays: Mapping[str, np.ndarray]) -> Arrays:
        return {ANSWER: self._engine.run({self._name: arrays["input"]})[self._first]}


def onnxruntime(path: Path, threads: int, front: Mapping[str, Any]) -> Call:
    import onnxruntime as library

    options = library.SessionOptions()
    options.intra_op_num_threads = threads
    session = library.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return _behind_numpy(lambda x: session.run(None, {name: x})[0], front)


def openvino(path: Path, threads: int, front: Mapping[str, Any], *, precision: str) -> Call:
    import openvino as library
    from openvino.preprocess import PrePostProcessor

    core = library.Core()
    model = core.read_model(path)
    by_itself = "mean" in front
    if by_itself:  # its own preprocessing, in the graph
        steps = PrePostProcessor(model)
        steps.input().tensor().set_element_type(library.Type.u8).set_layout(library.Layout("NHWC"))
        steps.input().model().set_layout(library.Layout("NCHW"))
        mean, std = ([255 * number for number in front[key]] for key in ("mean", "std"))
        steps.input().preprocess().convert_element_type(library.Type.f32).mean(mean).scale(std)
        model = steps.build()
    settings = {
        "INFERENCE_PRECISION_HINT": precision,
        "INFERENCE_NUM_THREADS": threads,
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": 1,
    }
    request = core.compile_model(model, "CPU", settings).create_infer_request()

    def call(x: np.ndarray) -> np.ndarray:
        return request.infer([x], share_inputs=True)[0]

    return call if by_itself else _behind_numpy(call, front)


def executorch(path: Path, threads: int, front: Mapping[str, Any]) -> Call:
    from edgekit.edge_runtime.engines.executorch_native import NativeSession

    session = NativeSession(path, threads)  # ExecuTorch's C++ runtime, without what our engine does around it
    return _behind_numpy(lambda x: session.run([x])[0], front)


def litert(path: Path, threads: int, front: Mapping[str, Any]) -> Call:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(path), num_threads=threads)
    interpreter.allocate_tensors()
    given, made = interpreter.get_input_details()[0], interpreter.get_output_details()[0]["index"]
    place = given["index"]

    def call(x: np.ndarray) -> np.ndarray:
        interpreter.set_tensor(place, x)
        interpreter.invoke()
        return interpreter.get_tensor(made)

    return _behind_numpy(call, front, by_pixel=path.with_suffix(BY_PIXEL).exists())


def ncnn(path: Path, threads: int, front: Mapping[str, Any]) -> Call:
    import ncnn as library

    net = library.Net()
    net.opt.num_threads = threads
    net.load_param(str(path))
    net.load_model(str(path.with_suffix(".bin")))

    def call(x: np.ndarray) -> np.ndarray:
        extractor = net.create_extractor()
        extractor.input("in0", library.Mat(x[0]))
        status, made = extractor.extract("out0")
        if status:
            raise RuntimeError(f"ncnn could not run the model (status {status})")
        return np.array(made)[None]

    return _behind_numpy(call, front)


ENGINES: dict[str, Callable[..., Call]] = {
    "onnxruntime": onnxruntime,
    "openvino": openvino,
    "executorch": executorch,
    "litert": litert,
    "ncnn": ncnn,
}
_PACKAGES = {"litert": "ai-edge-litert"}


def _behind_numpy(call: Call, front: Mapping[str, Any], *, by_pixel: bool = False) -> Call:
    """`call` behind the normalization as a user of the raw library writes it."""
    if "mean" in front:
        mean, std = (np.array(front[key], np.float32) for key in ("mean", "std"))
        if by_pixel:
            return lambda x: call((x.astype(np.float32) / 255 - mean) / std)
        return lambda x: call(np.ascontiguousarray(((x.astype(np.float32) / 255 - mean) / std).transpose(0, 3, 1, 2)))
    if "low" in front:
        low, high = front["low"], front["high"]
        return lambda x: call(np.clip(x.astype(np.float32, copy=False), low, high))
    return call


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m experiments.peers.child")
    parser.add_argument("engine", help=f"{', '.join(ENGINES)} or bundle:ENGINE; of openvino with its precision")
    parser.add_argument("file", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--front", type=json.loads, default={}, help="what normalizes the pixels, as JSON")
    options = parser.parse_args()
    kind, _, detail = options.engine.partition(":")

    def open_engine() -> Any:
        if kind == "bundle":
            return OfBundle(options.file, detail, options.threads)
        chosen = {"precision": detail} if detail else {}
        call = ENGINES[kind](options.file, options.threads, options.front, **chosen)
        return Raw(call, f"{kind} {importlib.metadata.version(_PACKAGES.get(kind, kind))}")

    serve(open_engine)


if __name__ == "__main__":
    main()
