"""Exact rewrites of a captured graph that make it deployable; each is checked to have changed nothing.

A rewrite is a `Rewrite` in a file of its own and a line in the list of each backend that needs it.
"""

from .norms import NORMS
from .padding import PADDING
from .pixels import PIXELS
from .recurrent import RECURRENT
from .resampling import COPIES, RESAMPLING
from .rewrite import Applied, Rewrite, rewrite
from .softplus import SOFTPLUS
from .unshare import UNSHARE, UNSHARE_INT8
from .volumes import VOLUMES

# What XNNPACK's partitioner (executorch 1.5.1) leaves outside, or gets wrong. `UNSHARE` last: others make weights.
FOR_XNNPACK: tuple[Rewrite, ...] = (PIXELS, COPIES, VOLUMES, NORMS, PADDING, RESAMPLING, RECURRENT, SOFTPLUS, UNSHARE)
# What PT2E's quantizer (torchao 0.18.0) gets wrong, whatever its program is lowered to.
FOR_PT2E: tuple[Rewrite, ...] = (UNSHARE, UNSHARE_INT8)
# onnxruntime has kernels of all operators; of these it has faster ones.
FOR_ONNX: tuple[Rewrite, ...] = (PIXELS,)
# Where activations are to be 8 bits wide: onnxruntime's Conv3d is slower so than in float, and is best left otherwise.
FOR_ONNX_INT8: tuple[Rewrite, ...] = (*FOR_ONNX, VOLUMES)

__all__ = [
    "FOR_ONNX",
    "FOR_ONNX_INT8",
    "FOR_PT2E",
    "FOR_XNNPACK",
    "PIXELS",
    "UNSHARE",
    "VOLUMES",
    "Applied",
    "Rewrite",
    "rewrite",
]
