"""Thousands of spoiled bundles: each is refused with a message, or answers exactly as it should. In bounded time and
memory, and whatever the file holds, this process lives on."""

import json
import tempfile
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from corruptions import FILES, accidents, exchanges, hostile_zips, packed, rewrite_manifest
from hostile_content import hostile_goldens, hostile_values
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_bundle import make_bundle

from edgekit.edge_runtime import engines
from edgekit.edge_runtime.bundle.bundle import Bundle
from edgekit.edge_runtime.errors import EdgekitError
from edgekit.edge_runtime.worker.replay import judge

DUPLICATES = pytest.mark.filterwarnings("ignore:Duplicate name")  # zipfile's, about the archives made here
SECONDS = 2.0  # CPU time that one case may take; most take two milliseconds


class Target:
    """A bundle that is spoiled and restored again and again."""

    def __init__(self, folder):
        self.folder = folder
        self.whole = {name: (folder / name).read_bytes() for name in FILES}
        with Bundle.open(folder) as bundle, engines.load(bundle) as engine:
            self.expected = engine.run(bundle.golden().sample(0))

    def restore(self):
        for path in self.folder.iterdir():
            if path.name not in self.whole:
                path.unlink()
        for name, raw in self.whole.items():
            (self.folder / name).write_bytes(raw)

    def outcome(self, spoil):
        """What `run` says of the bundle after `spoil`."""
        self.restore()
        return self.run(spoil(self.folder))

    def run(self, path):
        """ "refused" or "right", after everything that a device does with a bundle; raises on anything else."""
        start = time.process_time()
        try:
            with Bundle.open(path) as bundle:
                golden = bundle.golden()
                with engines.load(bundle) as engine:
                    found = engine.run(golden.sample(0))
                    result = judge(bundle.manifest.only(), golden, golden.own_answers(), engine.version)
        except EdgekitError as error:
            said = str(error)
        else:
            said = ""
        assert time.process_time() - start < SECONDS
        if said:
            assert len(said) < 2000
            assert said.isprintable()
            return "refused"
        for name, rows in self.expected.items():
            np.testing.assert_array_equal(found[name], rows)
        assert result.samples == 12
        return "right"


@pytest.fixture(scope="module", params=[1, 2], ids=["format 1", "format 2"])
def target(request):
    """In memory where there is such a folder: each case writes several files, and a disk would be waited for."""
    memory = Path("/dev/shm")
    with (
        tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder,
        pytest.MonkeyPatch.context() as m,
    ):
        m.setattr(tempfile, "tempdir", folder)  # for what archives are unpacked to
        yield Target(make_bundle(Path(folder), name="x", format_version=request.param))


def counted(target, cases):
    """How many were refused and how many answered rightly; names the case that did neither."""
    counts = {"refused": 0, "right": 0}
    for name, spoil in cases:
        try:
            counts[target.outcome(spoil)] += 1
        except BaseException as error:
            raise AssertionError(f"{name}: {type(error).__name__}: {str(error)[:500]}") from error
    return counts


def test_an_untouched_bundle_answers(target):
    cases = [("folder", lambda folder: folder), ("zip", packed)]
    assert counted(target, cases) == {"refused": 0, "right": 2}


KINDS = {
    "accidents": lambda whole: accidents(1000),
    "exchanged files": lambda whole: exchanges(),
    "hostile archives": lambda whole: hostile_zips(),
    "hostile golden files": lambda whole: hostile_goldens(whole["golden.npz"]),
    "hostile manifests": lambda whole: hostile_values(whole["manifest.json"]),
}
# What is not refused is what says nothing else: a date in a directory, a label, a plain model.sig.
MOST_HARMLESS = {"hostile archives": 1, "hostile golden files": 200, "hostile manifests": 250}


@DUPLICATES
def test_there_are_two_thousand_ways(target):
    assert sum(1 for kind in KINDS.values() for _ in kind(target.whole)) >= 2000


@DUPLICATES
@pytest.mark.filterwarnings("ignore:.*was proven on onnxruntime")
@pytest.mark.parametrize("kind", KINDS)
def test_each_is_refused_or_answers_rightly(target, kind):
    counts = counted(target, KINDS[kind](target.whole))
    assert counts["right"] <= MOST_HARMLESS.get(kind, 0)
    assert counts["refused"] > 2 * counts["right"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@settings(deadline=None, max_examples=150, derandomize=True, database=None)
@given(data=st.data())
def test_any_json_in_any_field_is_refused_or_harmless(target, data):
    fields = json.loads(target.whole["manifest.json"])
    name = data.draw(st.sampled_from(sorted(set(fields) - {"sha256"})))
    value = data.draw(JSON)

    def spoil(folder):
        rewrite_manifest(folder, lambda manifest: manifest.update({name: value}))
        return folder

    assert target.outcome(spoil) in ("refused", "right")


@settings(deadline=None, max_examples=150, derandomize=True, database=None)
@given(raw=st.binary(max_size=400), at=st.integers(0, 5000), name=st.sampled_from([*FILES, "zip"]))
def test_any_bytes_anywhere_are_refused(target, raw, at, name):
    def spoil(folder):
        path = packed(folder) if name == "zip" else folder / name
        before = path.read_bytes()
        path.write_bytes(before[: at % len(before)] + raw + b"." + before[at % len(before) :])
        return path if name == "zip" else folder

    assert target.outcome(spoil) == "refused"


@DUPLICATES
def test_no_file_takes_more_than_twice_the_memory(target):
    """Of Python and numpy, whatever sizes and shapes a file says it has."""

    def peak(spoil):
        target.restore()
        path = spoil(target.folder)
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        target.run(path)
        return tracemalloc.get_traced_memory()[1] - before

    hostile = [*hostile_goldens(target.whole["golden.npz"]), *hostile_zips()]
    lies = [
        case for case in hostile if any(word in case[0] for word in ("huge", "64", "long", "bomb", "field", "deep"))
    ]
    target.outcome(packed)  # imports and caches are nobody's case
    tracemalloc.start()
    try:
        normal = max(peak(packed), peak(lambda folder: folder))
        peaks = {name: peak(spoil) for name, spoil in lies}
    finally:
        tracemalloc.stop()
    assert len(peaks) >= 50
    assert {name: found for name, found in peaks.items() if found > 2 * normal} == {}
