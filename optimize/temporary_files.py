"""Temporary files that libraries make while they export and quantize: they go with a folder of ours.

onnxruntime, ExecuTorch and torch make them where `tempfile` says. A process that is killed leaves them there, under
names that nobody could tell from other programs'; in a folder of ours the next run finds them (`temporary`).
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from torch._inductor.runtime.cache_dir_utils import default_cache_dir

from edgekit.edge_runtime.temporary import temporary_folder

_TORCH_CACHE = "TORCHINDUCTOR_CACHE_DIR"


@contextmanager
def collected() -> Iterator[Path]:
    """Within the block `tempfile` makes everything in the folder that is yielded, which is removed at its end."""
    before, cache = tempfile.tempdir, os.environ.get(_TORCH_CACHE)
    # What torch compiled stays where it always is: made anew it would take a minute.
    os.environ[_TORCH_CACHE] = cache or default_cache_dir()
    try:
        with temporary_folder() as folder:
            tempfile.tempdir = str(folder)
            try:
                yield folder
            finally:
                tempfile.tempdir = before
    finally:
        if cache is None:
            del os.environ[_TORCH_CACHE]
