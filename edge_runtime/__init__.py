"""What ships to the device: opens, checks, runs and measures bundles on a CPU, without torch.

It needs only numpy, and imports it when one of its names is first used. Engines (onnxruntime, openvino, executorch,
torch) are imported when a bundle needs one.

    from edgekit.edge_runtime import Bundle, load_engine

    bundle = Bundle.open("bundles/digits_cnn-onnx-w8a8_static")     # verifies every checksum
    with load_engine(bundle) as engine:
        probabilities = engine.run({"image": pixels})["probabilities"]
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .bundle.bundle import Bundle
    from .bundle.manifest import Manifest
    from .engines import Engine
    from .errors import EdgekitError
    from .loading import load_engine

__all__ = ["Bundle", "EdgekitError", "Engine", "Manifest", "load_engine"]


def __getattr__(name: str) -> Any:
    """Imports a public name on its first use, so that `edgekit --help` does not wait for it."""
    if name not in __all__:
        raise AttributeError(f"module 'edgekit.edge_runtime' has no attribute {name!r}")
    from . import engines, errors, loading
    from .bundle import bundle, manifest

    globals().update(
        Bundle=bundle.Bundle,
        EdgekitError=errors.EdgekitError,
        Engine=engines.Engine,
        Manifest=manifest.Manifest,
        load_engine=loading.load_engine,
    )
    return globals()[name]
