"""How much a bundle may hold: every bound of docs/BUNDLE.md, in one place. Held before anything is built of a file.

They are far above what real bundles need, and low enough that a hostile one costs a device neither memory nor time.
"""

from __future__ import annotations

from ..decode import Limits

MAX_MANIFEST_BYTES = 4 << 20
# Of any JSON that comes with a bundle: the labels of a 20,000-class model fit ten times over.
JSON_LIMITS = Limits(depth=16, items=262_144, fields=1_024, text=65_536, key=256)

MAX_RANK = 16  # axes of a tensor, the batch axis counted; as many as ExecuTorch knows
MAX_SIDE = 1 << 24  # of one axis
MAX_PICTURE_SIDE = 8192
MAX_PROGRAMS = 16
MAX_TENSORS = 256  # inputs of a program, and outputs
MAX_ENGINES = 16  # that ran a program's golden replay
MAX_FEATURES = 64

MAX_FILE_BYTES = 8 << 30
MAX_BUNDLE_BYTES = 16 << 30  # of all its files
MAX_GOLDEN_BYTES = 1 << 30
MAX_SIGNATURE_BYTES = 1 << 20
MAX_MEMBER_NAME = 300  # bytes of a member's name in golden.npz: "packed/", an engine, a tensor, ".npy"
