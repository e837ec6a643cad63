"""edgekit: a trained PyTorch model in, the smallest and fastest bundle that provably keeps its accuracy out.

    from edgekit import Bundle, load_engine

    bundle = Bundle.open("bundles/digits_cnn-onnx-w8a8_static")     # every checksum is verified here
    with load_engine(bundle) as engine:
        probabilities = engine.run({"image": pixels})["probabilities"]

This module imports nothing until it is asked. The parts are `edgekit.edge_runtime` (opens, checks and runs bundles;
needs numpy alone), `edgekit.train`, `edgekit.optimize` and `edgekit.demo_app`; `edgekit.cli` is the command.
"""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgekit.edge_runtime import Bundle, EdgekitError, Engine, Manifest, load_engine

    __version__: str

__all__ = ["Bundle", "EdgekitError", "Engine", "Manifest", "load_engine"]

# onnxruntime reports what it runs to its makers, and keeps files in the user's cache for that, unless this was set
# before it is imported. Here, because all processes of ours pass by; whoever wants the reports sets it to 0.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

_HERE = Path(__file__).resolve().parent
# In a source checkout the four parts lie beside this folder, not in it; an installed wheel has them inside.
if not (_HERE / "edge_runtime").is_dir() and (_HERE.parent / "edge_runtime" / "__init__.py").is_file():
    __path__.append(str(_HERE.parent))


def __getattr__(name: str) -> Any:
    """Imports the device side when one of its names is first used, and asks for the version when that is."""
    if name == "__version__":
        return _version()
    if name in __all__:
        from edgekit import edge_runtime

        return getattr(edge_runtime, name)
    raise AttributeError(f"module 'edgekit' has no attribute {name!r}")


def _version() -> str:
    """As installed; in a source checkout that is not installed, as its pyproject.toml says."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("edgekit")
    except PackageNotFoundError:
        import tomllib

        return tomllib.loads((_HERE.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
