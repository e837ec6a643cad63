"""Ranges of an ONNX graph's tensors by any method of `ranges.py`, in the cache file that onnxruntime reads them from.

onnxruntime 1.32 has no search by squared error, its entropy method of 128 bins for 128 levels cannot clip, and its
calibrators hold all tensors of all samples in memory. So its calibrator collects the histograms, one sample at a
time, and the range is picked from them here.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod
from onnxruntime.quantization.calibrate import TensorsData, create_calibrator, save_tensors_data

from edgekit.edge_runtime.arrays import Arrays

from .ranges import range_of

BINS = 4096  # over both signs; after a ReLU half of them hold anything


class _One(CalibrationDataReader):
    """A single sample."""

    def __init__(self, sample: Arrays):
        self._left = [sample]

    def get_next(self) -> dict[str, np.ndarray] | None:
        return self._left.pop() if self._left else None


class KnownRanges:
    """The cache files of the model that was calibrated last, by method: its ranges are those of the float model.

    What stays in float does not change them, so a search for such layers calibrates once: a net of 100 blocks took
    11 s to quantize once more and run on 32 samples, and takes 0.3 s.
    """

    def __init__(self) -> None:
        self._of, self._files = "", dict[str, bytes]()

    def recall(self, source: Path, calibration: Arrays, method: str, target: Path) -> bool:
        """Writes `target` where the ranges of `source` on the samples `calibration` are known; whether they are."""
        of = _digest(source, calibration)
        if of != self._of:
            self._of, self._files = of, {}
        if method not in self._files:
            return False
        target.write_bytes(self._files[method])
        return True

    def keep(self, method: str, made: Path) -> None:
        """Remembers the file `made` for what `recall` was asked for last."""
        self._files[method] = made.read_bytes()


def _digest(source: Path, calibration: Arrays) -> str:
    digest = hashlib.sha256(source.read_bytes())
    for name, samples in sorted(calibration.items()):
        digest.update(f"{name} {samples.dtype} {samples.shape}".encode())
        digest.update(np.ascontiguousarray(samples).data)
    return digest.hexdigest()


def write_ranges(ready: Path, calibration: Arrays, operators: Sequence[str], method: str, target: Path) -> None:
    """Runs `ready` on calibration samples (N, …) and writes the ranges of the tensors around `operators`."""
    calibrator = create_calibrator(
        ready,
        list(operators),
        augmented_model_path=str(target.with_suffix(".augmented.onnx")),
        calibrate_method=CalibrationMethod.Percentile,
        extra_options={"num_bins": BINS, "symmetric": False},  # symmetric, it would drop the signs
    )
    with contextlib.redirect_stdout(io.StringIO()):  # it prints its progress, where --json wants one document
        for i in range(len(next(iter(calibration.values())))):
            calibrator.collect_data(_One({name: rows[i : i + 1] for name, rows in calibration.items()}))
    ranges = {}
    for name, (counts, edges, low, high, *_) in calibrator.collector.get_histogram_dict().items():
        start, stop = range_of(method, counts, edges, low, high)
        ranges[name] = (np.float32(start), np.float32(stop))
    save_tensors_data(TensorsData(CalibrationMethod.MinMax, ranges), target)
