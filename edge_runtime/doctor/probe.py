"""What one engine's library reports of itself, as JSON: `python -m edgekit.edge_runtime.doctor.probe NAME`.

A process of its own, because a broken library may end the process that imports it. The torch engines have no model file
in the package: they make a tiny one here, run it, and compare whole numbers, which need no tolerance.
"""

from __future__ import annotations

import json
import os
import sys
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from ..errors import EdgekitError, shown
from ..temporary import temporary_folder

Facts = dict[str, Any]


def _onnx() -> Facts:
    import onnxruntime

    return {"version": onnxruntime.__version__, "provides": onnxruntime.get_available_providers()}


def _openvino() -> Facts:
    from ..engines.openvino import capabilities, version

    return {"version": version(), "provides": capabilities()}


def _executorch() -> Facts:
    from ..engines import executorch_native
    from ..engines.executorch_build import find_compiler, neither, version_of

    facts: Facts = {"version": version_of(executorch_native.package_folder())}
    asked = os.environ.get("EDGEKIT_EXECUTORCH", "")
    why = "EDGEKIT_EXECUTORCH asks for it" if asked == "python" else executorch_native.missing()
    if why is None:
        backends, operators = executorch_native.registered()
        facts["runtime"] = "native (C++, without torch)"
        facts["shim"] = str(executorch_native.build())
    else:
        try:
            from ..engines.executorch_python import runtime
        except ModuleNotFoundError:
            raise neither(why) from None
        loaded = runtime()
        backends, operators = list(loaded._get_registered_backend_names()), list(loaded._get_operator_names())
        facts["runtime"] = f"Python, with torch ({why})"
    quantized = sum(name.startswith("quantized_decomposed::") for name in operators)
    facts["compiler"] = " ".join(find_compiler() or ["none"])
    facts["provides"] = [*backends, f"{len(operators) - quantized} operators", f"{quantized} quantized operators"]
    return facts


def _torchscript() -> Facts:
    from ..engines.torchscript import TorchScriptSession

    torch, module, weights, given = _int8_product()
    with temporary_folder() as folder:
        path = folder / "model.ts"
        torch.jit.script(module).save(str(path))
        product = TorchScriptSession(path, 1).run([given])[0]
    engines = [name for name in torch.backends.quantized.supported_engines if name != "none"]
    mkldnn = ["oneDNN"] if torch.backends.mkldnn.is_available() else []
    return _compared(product, given, weights) | {
        "version": torch.__version__,
        "provides": [*mkldnn, *(f"int8 {name}" for name in engines)],
    }


def _aot() -> Facts:
    from ..engines.aot import AotSession

    torch, module, weights, given = _int8_product()
    with temporary_folder() as folder:
        path = folder / "model.pt2"
        program = torch.export.export(module, (torch.from_numpy(given),))
        torch._inductor.aoti_compile_and_package(
            program, package_path=str(path), inductor_configs={"aot_inductor.precompile_headers": False}
        )
        product = AotSession(path, 1).run([given])[0]
    isa = torch._inductor.cpu_vec_isa.pick_vec_isa()
    return _compared(product, given, weights) | {"version": torch.__version__, "provides": str(isa).split()}


def _torch_export() -> Facts:
    from ..engines.torch_export import TorchExportSession

    torch, module, weights, given = _int8_product()
    with temporary_folder() as folder:
        path = folder / "model.pt2"
        torch.export.save(torch.export.export(module, (torch.from_numpy(given),)), path)
        product = TorchExportSession(path, 1).run([given])[0]
    return _compared(product, given, weights) | {"version": torch.__version__, "provides": ["torch operators"]}


def _int8_product() -> tuple[Any, Any, np.ndarray, np.ndarray]:
    """torch, a module that multiplies int8 matrices into int32, its weights (64, 32), and an input (32, 64)."""
    import torch

    draw = np.random.default_rng(0)
    weights, given = (draw.integers(-128, 128, shape, np.int8) for shape in ((64, 32), (32, 64)))

    class Product(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weights = torch.from_numpy(weights)

        def forward(self, given: torch.Tensor) -> torch.Tensor:
            return torch._int_mm(given, self.weights)

    return torch, Product().eval(), weights, given


def _compared(product: np.ndarray, given: np.ndarray, weights: np.ndarray) -> Facts:
    wanted = given.astype(np.int64) @ weights.astype(np.int64)
    wrong = int(np.count_nonzero(product != wanted)) if product.shape == wanted.shape else wanted.size
    return {"right": wrong == 0, "result": f"{wrong} of {wanted.size} int8 products are wrong" if wrong else "exact"}


PROBES: dict[str, Callable[[], Facts]] = {
    "onnx": _onnx,
    "onnx@openvino": _openvino,
    "executorch": _executorch,
    "torchscript": _torchscript,
    "aot": _aot,
    "torch_export": _torch_export,
}


def main() -> None:
    answer = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # native libraries print to descriptor 1
    warnings.simplefilter("ignore")
    try:
        facts = PROBES[sys.argv[1]]()
    except EdgekitError as error:  # its text says what to do
        facts = {"error": str(error), "remedy": ""}
    except Exception as error:
        facts = {"error": f"{type(error).__name__}: {shown(error, 400)}"}
    answer.write(json.dumps(facts))
    answer.flush()


if __name__ == "__main__":
    main()
