"""Makes artifacts: takes a trained module through capture, quantization and lowering to a verified bundle.

The whole pipeline is `pack.pack_bundle`; what is done to the weights is a recipe, what file comes out an exporter.
From Python, `edgekit.optimize.optimize(request)` does what `edgekit optimize` does:

    from edgekit.optimize import Request, optimize

    result = optimize(Request(model=my_model, calibration=samples, validation=inputs, targets=classes, labels=names))
    for row in result.rows:
        print(row.name, row.status, row.times_smaller, row.times_faster)
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .api import Result, optimize
    from .user_model.request import Request, read_request

__all__ = ["Request", "Result", "optimize", "read_request"]


def __getattr__(name: str) -> Any:
    """Imports torch and the exporters when the function is first used: `edgekit report` needs none of them."""
    if name in ("Request", "read_request"):
        from .user_model import request

        return getattr(request, name)
    if name in __all__:
        from . import api

        return getattr(api, name)
    raise AttributeError(f"module 'edgekit.optimize' has no attribute {name!r}")
