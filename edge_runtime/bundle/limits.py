"""How much a bundle may hold: every limit in docs/BUNDLE.md. Checked before anything is built from a file.

The limits are far above what real bundles need, and low enough that a hostile one costs little memory and time.
"""

from __future__ import annotations

from ..decode import Limits

MAX_MANIFEST_BYTES = 4 << 20
# For any JSON that comes with a bundle: ten times the labels of a model with 20,000 classes fit.
JSON_LIMITS = Limits(depth=16, commas=524_288, items=262_144, fields=1_024, text=65_536, key=256)

MAX_RANK = 16  # axes of a tensor, the batch axis included; as many as ExecuTorch allows
MAX_SIDE = 1 << 24  # of one axis
MAX_PICTURE_SIDE = 8192
MAX_DETECTIONS = 10_000  # that are kept of one picture
MAX_PROGRAMS = 16
MAX_TENSORS = 256  # inputs of a program, and outputs
MAX_ENGINES = 16  # that ran a program's golden replay
MAX_FEATURES = 64

MAX_FILE_BYTES = 8 << 30
MAX_BUNDLE_BYTES = 16 << 30  # of all its files
MAX_GOLDEN_BYTES = 1 << 30
MAX_SIGNATURE_BYTES = 1 << 20
MAX_MEMBER_NAME = 300  # bytes of a member's name in golden.npz: "packed/", an engine, a tensor, ".npy"
