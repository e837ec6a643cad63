"""What ships to the device: opens, checks, runs and measures bundles on a CPU, without torch.

`import edgekit.edge_runtime` needs numpy alone. Engines (onnxruntime, executorch, torch) are imported when a bundle asks for
one.

    from edgekit.edge_runtime import Bundle, load_engine

    bundle = Bundle.open("bundles/digits_cnn-onnx-w8a8_static")     # every checksum is verified here
    with load_engine(bundle) as engine:
        probabilities = engine.run({"image": pixels})["probabilities"]
"""

from .bundle import Bundle
from .engines import Engine
from .engines import load as load_engine
from .errors import EdgekitError
from .manifest import Manifest

__all__ = ["Bundle", "EdgekitError", "Engine", "Manifest", "load_engine"]
