"""How fast crops of CTs load, and how much disk they take: the book's cache, our store, and compressed chunks.

`python -m experiments.luna_store` writes results/luna-store.json. All ways hold the same crops and give the same
batches of float32. They are timed in turn, so that a busy moment of the machine meets all of them. Only loading is
measured, from files that the system has cached, in random order as in shuffled training.
"""

from __future__ import annotations

import argparse
import gzip
import pickle
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import numpy as np

from edgekit.edge_runtime.decode import canonical_json
from edgekit.edge_runtime.files import write_bytes
from edgekit.edge_runtime.machine.cpu import machine
from edgekit.edge_runtime.program import program
from edgekit.train import provenance
from edgekit.train.data import data_root
from edgekit.train.data.ct import AIR_HU, CLIP_HU, crop, read_scan
from edgekit.train.data.synthetic_ct import make_scan

CROP, BATCH = (32, 48, 48), 24
DICOM = "p1ch4/volumetric-dicom/2-LUNG 3.0  B70f-04083"
BOOK, STORE = "book: gzip level 1 of pickled float32, one file a candidate", "store: int16, memory-mapped"
Load = Callable[[np.ndarray], np.ndarray]


def book_cache(crops: np.ndarray, folder: Path) -> Load:
    """Like the book's disk cache of memoised crops: (float32 crop, centre), pickled and gzipped, in 64 folders."""
    paths = [folder / f"{i % 64:02d}" / f"{i}.val" for i in range(len(crops))]
    for path, one in zip(paths, crops, strict=True):
        path.parent.mkdir(parents=True, exist_ok=True)
        with gzip.open(path, "wb", compresslevel=1) as file:
            pickle.dump((one.astype(np.float32), (0, 0, 0)), file, protocol=pickle.HIGHEST_PROTOCOL)

    def load(rows: np.ndarray) -> np.ndarray:
        loaded = []
        for row in rows:
            with gzip.open(paths[row], "rb") as file:
                loaded.append(pickle.load(file)[0])
        return np.stack(loaded)

    return load


def mapped(crops: np.ndarray, folder: Path) -> Load:
    """Like `luna_store`."""
    path = folder / "crop.bin"
    path.write_bytes(crops.astype("<i2").tobytes())
    kept = np.memmap(path, "<i2", "r", shape=crops.shape)
    return lambda rows: kept[rows].astype(np.float32)


def chunks(crops: np.ndarray, folder: Path, *, codec: Literal["lz4", "zstd"], level: int) -> Load:
    """zarr with one chunk a crop, all in one shard, compressed by blosc with bit shuffling."""
    import zarr
    from zarr.codecs import BloscCodec

    compressor = BloscCodec(cname=codec, clevel=level, shuffle="bitshuffle")
    made = zarr.create_array(
        store=str(folder / "crops.zarr"),
        shape=crops.shape,
        dtype="int16",
        chunks=(1, *CROP),
        shards=crops.shape,
        compressors=compressor,
    )
    made[:] = crops.astype("<i2")
    kept = zarr.open_array(str(folder / "crops.zarr"), mode="r")
    return lambda rows: np.stack([np.asarray(kept[int(row)]) for row in rows]).astype(np.float32)


WAYS: dict[str, Callable[[np.ndarray, Path], Load]] = {
    BOOK: book_cache,
    STORE: mapped,
    "zarr, blosc lz4 level 5": lambda crops, folder: chunks(crops, folder, codec="lz4", level=5),
    "zarr, blosc zstd level 1": lambda crops, folder: chunks(crops, folder, codec="zstd", level=1),
}


def real_crops(count: int) -> np.ndarray | None:
    """(N, 32, 48, 48) int16, clipped, at random places of the book's chest CT; None if that is not on disk."""
    folder = data_root() / "book" / DICOM
    if not folder.is_dir():
        return None
    return _drawn(read_scan(folder, clip=True).hu, count)


def synthetic_crops(count: int) -> np.ndarray:
    """The same from a synthetic scan."""
    return _drawn(make_scan(0, others=1).hu.clip(AIR_HU, CLIP_HU), count)


def _drawn(hu: np.ndarray, count: int) -> np.ndarray:
    random = np.random.default_rng(1)
    middles = np.stack([random.integers(side // 4, side - side // 4, count) for side in hu.shape], axis=1)
    return np.stack([crop(hu, middle.tolist(), CROP) for middle in middles]).astype(np.int16)


def measure(crops: np.ndarray, *, repeats: int) -> list[dict[str, object]]:
    """One row a way: seconds of each epoch, and bytes on disk. Every way's batches are checked against the crops."""
    order = np.random.default_rng(2).permutation(len(crops))
    batches = [order[start : start + BATCH] for start in range(0, len(order), BATCH)]
    with tempfile.TemporaryDirectory() as place:
        loads, sizes = {}, {}
        for number, (name, make) in enumerate(WAYS.items()):
            folder = Path(place) / str(number)
            folder.mkdir()
            loads[name] = make(crops, folder)
            sizes[name] = sum(path.stat().st_size for path in _files(folder))
            for rows in batches:  # this also brings the files into the system's cache
                if not np.array_equal(loads[name](rows), crops[rows]):
                    raise AssertionError(f"{name} gives other crops than it was given")
        seconds: dict[str, list[float]] = {name: [] for name in loads}
        for _ in range(repeats):
            for name, load in loads.items():
                began = time.perf_counter()
                for rows in batches:
                    load(rows)
                seconds[name].append(time.perf_counter() - began)
    book = statistics.median(seconds[BOOK])
    return [
        {
            "way": name,
            "epoch_s": seconds[name],
            "median_epoch_s": statistics.median(seconds[name]),
            "times_as_fast_as_the_book": book / statistics.median(seconds[name]),
            "bytes": sizes[name],
            "size_over_the_books": sizes[name] / sizes[BOOK],
        }
        for name in loads
    ]


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.is_file())


@program()
def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m experiments.luna_store", description=__doc__)
    parser.add_argument("--crops", type=int, default=480)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--out", type=Path, default=Path("results/luna-store.json"))
    options = parser.parse_args()
    sources = {"synthetic scan": synthetic_crops(options.crops), "the book's chest CT": real_crops(options.crops)}
    result = {
        "what": f"one epoch of pure loading: {options.crops} crops of 32 x 48 x 48 in batches of {BATCH}, one process",
        "repeats": options.repeats,
        "sources": {
            name: measure(crops, repeats=options.repeats) for name, crops in sources.items() if crops is not None
        },
        "machine": machine(),
        "versions": provenance.versions() | {"zarr": version("zarr")},
        "commit": provenance.commit(),
    }
    write_bytes(options.out, canonical_json(result))
    for name, ways in result["sources"].items():
        print(name)
        for way in ways:
            print(
                f"  {way['way']:60} {1e3 * way['median_epoch_s'] / options.crops:7.3f} ms a crop, "
                f"{way['times_as_fast_as_the_book']:6.1f} times as fast, {way['size_over_the_books']:.2f} of the size"
            )
    print(f"wrote {options.out}")


if __name__ == "__main__":
    sys.exit(main())
