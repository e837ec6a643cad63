"""Golden files: what is saved comes back, and a file that lies about its arrays is refused with what is wrong."""

import io
import struct
import time
import tracemalloc
import zipfile
from dataclasses import replace

import numpy as np
import pytest
from hostile_content import HOSTILE_NPY
from test_manifest import PROGRAM

from edgekit.edge_runtime.bundle.golden import UNNAMED, GoldenSet, load_golden, save_golden, write_arrays
from edgekit.edge_runtime.bundle.limits import MAX_GOLDEN_BYTES
from edgekit.edge_runtime.bundle.manifest import EngineRun, OutputSpec, Program, TensorSpec, one_floor
from edgekit.edge_runtime.errors import BundleError
from edgekit.edge_runtime.worker.child import decode_arrays, encode_arrays

INPUT = TensorSpec(name="x", dtype="int64", shape=(1, 2))
OUTPUT = OutputSpec(name="y", dtype="float16", shape=(1, 3, 2), holds="features")
RUNS = tuple(EngineRun(name="a", version="1", precision=p, verdict=None) for p in ("float32", "bfloat16"))
ANSWERS = np.arange(24, dtype=np.float16).reshape(4, 2, 3).transpose(0, 2, 1)  # (4, 3, 2), not contiguous
GOLDEN = GoldenSet(
    inputs={"x": np.arange(8).reshape(4, 2)},
    outputs={"y": ANSWERS},
    packed={"a-float32": {"y": ANSWERS + 1}, "a-bfloat16": {"y": ANSWERS + 2}},
    targets=np.array([True, False, True, True]),
)


def program(inputs=(INPUT,), outputs=(OUTPUT,), engines=RUNS, replay="by_output") -> Program:
    golden = replace(PROGRAM.golden, replay=replay, floors=one_floor(outputs, PROGRAM.golden.floors["probabilities"]))
    return replace(PROGRAM, inputs=inputs, outputs=outputs, engines=engines, golden=golden)


@pytest.fixture
def path(tmp_path):
    save_golden(tmp_path / "golden.npz", GOLDEN)
    return tmp_path / "golden.npz"


def refusal(path):
    with pytest.raises(BundleError) as error:
        load_golden(path, program())
    assert str(error.value).startswith(f"{path}: golden.npz ")
    return str(error.value)


def rewrite(path, changes, **options):
    """The archive with members replaced, and with None taken out."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()} | changes
    with zipfile.ZipFile(path, "w", **options) as archive:
        for name, raw in members.items():
            if raw is not None:
                archive.writestr(name, raw)


def test_what_was_saved_comes_back_in_c_order_and_writable(path):
    found = load_golden(path, program())
    np.testing.assert_array_equal(found.inputs["x"], GOLDEN.inputs["x"])
    for engine, added in (("a-float32", 1), ("a-bfloat16", 2)):
        np.testing.assert_array_equal(found.packed[engine]["y"], ANSWERS + added)
    np.testing.assert_array_equal(found.targets, GOLDEN.targets)
    assert (found.outputs["y"].flags.c_contiguous, found.outputs["y"].flags.writeable) == (True, True)


def test_arrays_are_written_as_numpy_writes_them():
    mine, numpys = io.BytesIO(), io.BytesIO()
    write_arrays(mine, {"x": GOLDEN.inputs["x"], "y": ANSWERS})
    np.savez(numpys, x=GOLDEN.inputs["x"], y=ANSWERS)
    assert mine.getvalue() == numpys.getvalue()


def test_arrays_may_have_the_names_of_numpys_own_arguments():
    arrays = {"file": np.arange(3), "allow_pickle": np.arange(4), "self": np.arange(5)}
    found = decode_arrays(encode_arrays(arrays))
    assert {name: len(rows) for name, rows in found.items()} == {"file": 3, "allow_pickle": 4, "self": 5}


def test_objects_are_not_written():
    with pytest.raises(ValueError, match="allow_pickle=False"):
        write_arrays(io.BytesIO(), {"x": np.array([{}])})


def test_answers_that_are_not_known_are_an_empty_column(tmp_path):
    unknown = GoldenSet(inputs=GOLDEN.inputs, outputs=GOLDEN.outputs, packed=GOLDEN.packed, targets=np.zeros((4, 0)))
    save_golden(tmp_path / "g.npz", unknown)
    assert load_golden(tmp_path / "g.npz", program()).targets.shape == (4, 0)


def test_the_answers_of_format_1_name_no_engine(tmp_path):
    old = replace(GOLDEN, packed={UNNAMED: {"y": ANSWERS}})
    save_golden(tmp_path / "g.npz", old)
    assert zipfile.ZipFile(tmp_path / "g.npz").namelist()[-1] == "packed/y.npy"
    found = load_golden(tmp_path / "g.npz", program(engines=(), replay="joint"))
    np.testing.assert_array_equal(found.own_answers("b 2.0")["y"], ANSWERS)


def test_a_file_that_was_never_run_has_no_answers_of_its_own(tmp_path):
    save_golden(tmp_path / "g.npz", replace(GOLDEN, packed={}))
    assert load_golden(tmp_path / "g.npz", program(engines=())).own_answers("a 1") is None


def test_of_several_engines_the_one_that_runs_is_compared_with(path):
    runs = (EngineRun(name="b", version="1", precision="float32", verdict=None), *RUNS)
    save_golden(path, replace(GOLDEN, packed={"b-float32": {"y": ANSWERS}, **GOLDEN.packed}))
    found = load_golden(path, program(engines=runs))
    for engine, added in (("a 2.0 (native)", 1), ("b 1", 0), ("c 1", 0), ("", 0)):
        np.testing.assert_array_equal(found.own_answers(engine)["y"], ANSWERS + added)


ONE_OF_TWO = OutputSpec(name="y", dtype="float16", shape=(1, 2), holds="logits")


@pytest.mark.parametrize(
    ("targets", "said"),
    [
        (np.array([0, 1, 1, 0]), ""),
        (np.array([0, 1, 1, 0], np.uint8), ""),
        (np.zeros((4, 0)), ""),
        (np.array([0, 1, 2, 0]), "should be whole numbers [4] from 0 to 1, found int64 [4]"),
        (np.array([0, -1, 1, 0]), "from 0 to 1"),
        (np.array([0.0, 1.0, 1.0, 0.0]), "found float64 [4]"),
        (np.zeros((4, 2), np.int64), "found int64 [4, 2]"),
    ],
)
def test_where_one_of_several_labels_is_picked_a_true_answer_is_the_index_of_one(tmp_path, targets, said):
    answers = {"y": np.zeros((4, 2), np.float16)}
    save_golden(tmp_path / "g.npz", GoldenSet(inputs=GOLDEN.inputs, outputs=answers, packed={}, targets=targets))
    if not said:
        assert len(load_golden(tmp_path / "g.npz", program(outputs=(ONE_OF_TWO,), engines=())).targets) == 4
        return
    with pytest.raises(BundleError) as error:
        load_golden(tmp_path / "g.npz", program(outputs=(ONE_OF_TWO,), engines=()))
    assert said in str(error.value)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"packed/a-float32/y.npy": None}, "says it has 4 members"),
        ({"more.npy": b""}, "says it has 6 members"),
        (
            {"packed/a-float32/y.npy": None, "packed/y.npy": b""},
            "inputs/x, outputs/y, packed/a-bfloat16/y, packed/a-float32/y, targets and no others; it differs in",
        ),
        ({"targets.npy": HOSTILE_NPY["huge shape"]}, "targets.npy is not as long as its shape [1000000000000] says"),
        ({"targets.npy": HOSTILE_NPY["objects"]}, "does not hold little-endian numbers in C order"),
        ({"targets.npy": HOSTILE_NPY["columns first"]}, "does not hold little-endian numbers in C order"),
        ({"targets.npy": HOSTILE_NPY["version 2"]}, "is not in version 1.0 of the npy format"),
        ({"targets.npy": HOSTILE_NPY["empty"]}, "has no targets"),
        ({"targets.npy": HOSTILE_NPY["a scalar"]}, "has no targets"),
        ({"targets.npy": b"nothing"}, "cannot be read"),
    ],
)
def test_arrays_that_are_not_what_they_should_be_are_refused(path, changes, said):
    rewrite(path, changes)
    assert said in refusal(path)


def test_an_array_of_another_shape_or_type_is_refused(path):
    with pytest.raises(
        BundleError, match=r"'inputs/x' should be int32 \[4, 2\], found int64 \[4, 2\]. Pack the bundle"
    ):
        load_golden(path, program(inputs=(TensorSpec(name="x", dtype="int32", shape=(1, 2)),)))
    with pytest.raises(BundleError, match=r"'inputs/x' should be int64 \[4, 3\], found int64 \[4, 2\]"):
        load_golden(path, program(inputs=(TensorSpec(name="x", dtype="int64", shape=(1, 3)),)))


def test_compressed_arrays_are_refused(path):
    rewrite(path, {}, compression=zipfile.ZIP_DEFLATED)
    assert "is compressed; only stored arrays are read" in refusal(path)


def test_a_size_beyond_the_file_is_refused(path):
    raw = bytearray(path.read_bytes())
    at = raw.rindex(b"PK\1\2")
    raw[at + 20 : at + 28] = (1 << 29).to_bytes(4, "little") * 2
    path.write_bytes(raw)
    assert "says its arrays are larger than itself" in refusal(path)


def test_a_file_over_the_limit_is_refused_from_its_size(path):
    with path.open("r+b") as file:
        file.truncate(MAX_GOLDEN_BYTES + 1)  # sparse: takes no space
    assert "is larger than 1,073,741,824 bytes" in refusal(path)


def test_a_damaged_archive_is_refused(path):
    path.write_bytes(path.read_bytes()[:-30])
    assert "is not a zip archive, or it was cut short or extended. Fetch the bundle again" in refusal(path)


def end_record(path, **changes):
    """The archive's end record with fields changed, and bytes put before it."""
    raw, before = path.read_bytes(), changes.pop("before", b"")
    names = ("disk", "directory_disk", "here", "count", "length", "at", "comment")
    fields = dict(zip(names, struct.unpack("<4H2LH", raw[-18:]), strict=True)) | changes
    path.write_bytes(raw[:-22] + before + b"PK\5\6" + struct.pack("<4H2LH", *fields.values()))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"count": 6, "here": 6}, "says it has 6 members"),
        ({"here": 4}, "a directory that no npz file has"),
        ({"disk": 1}, "a directory that no npz file has"),
        ({"at": 0}, "a directory that no npz file has"),
        ({"comment": 1}, "a directory that no npz file has"),
        ({"before": b"PK\6\7" + bytes(16)}, "a directory that no npz file has"),
    ],
)
def test_an_end_record_that_lies_is_refused(path, changes, said):
    end_record(path, **changes)
    assert said in refusal(path)


def test_a_directory_of_94_megabytes_is_refused_at_once(path):
    """Which zipfile would have made a million objects of, before it could be asked how many there are."""
    raw = path.read_bytes()
    at = struct.unpack("<L", raw[-6:-2])[0]
    entry = raw[at : raw.index(b"PK\1\2", at + 4)]
    directory = entry * (94_000_000 // len(entry))
    end = b"PK\5\6" + struct.pack("<4H2LH", 0, 0, 5, 5, len(directory), at, 0)
    path.write_bytes(raw[:at] + directory + end)
    start = time.process_time()
    tracemalloc.start()
    said = refusal(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "says it has 5 members with 93,999," in said
    assert (time.process_time() - start < 1, peak < 1_000_000) == (True, True)


PLACES = OutputSpec(name="y", dtype="float32", shape=(1, 2, 3), holds="probabilities")


@pytest.mark.parametrize(("targets", "fits"), [([[-1, 0, 1]] * 4, True), ([[-1, 0, 2]] * 4, False)])
def test_of_several_places_one_below_0_does_not_count(tmp_path, targets, fits):
    answers = {"y": np.zeros((4, 2, 3), np.float32)}
    save_golden(tmp_path / "g.npz", replace(GOLDEN, outputs=answers, packed={}, targets=np.array(targets)))
    if fits:
        assert load_golden(tmp_path / "g.npz", program(outputs=(PLACES,), engines=())).samples == 4
        return
    with pytest.raises(BundleError, match="whole numbers"):
        load_golden(tmp_path / "g.npz", program(outputs=(PLACES,), engines=()))


TARGETS = b"{'descr': '|b1', 'fortran_order': False, 'shape': (4,), }"


@pytest.mark.parametrize(
    "header",
    [
        TARGETS.replace(b"|b1", b"?"),
        TARGETS.replace(b"|b1", b"<u1"),
        TARGETS.replace(b"(4,)", b"(+4,)"),
        TARGETS.replace(b"(4,)", b"(0x4,)"),
        TARGETS.replace(b"(4,)", b"(4L,)"),
        TARGETS.replace(b", }", b"}"),
        TARGETS.replace(b"(4,)", b"(" + b"1, " * 16 + b"4)"),
        b"{'shape': (4,), 'descr': '|b1', 'fortran_order': False, }",
        b"{'descr': '<f8', " + TARGETS[1:],
    ],
)
def test_a_header_has_one_spelling(path, header):
    def npy(text):
        padded = text + b" " * (-(len(text) + 11) % 64) + b"\n"
        return b"\x93NUMPY\x01\0" + struct.pack("<H", len(padded)) + padded + b"\1\0\1\1"

    rewrite(path, {"targets.npy": npy(TARGETS)})
    assert load_golden(path, program()).samples == 4
    rewrite(path, {"targets.npy": npy(header)})
    assert "targets.npy does not hold" in refusal(path)


def test_a_name_does_not_end_at_a_zero_byte(path):
    with zipfile.ZipFile(path) as archive:
        raw = archive.read("targets.npy")
    rewrite(path, {"targets.npy": None, "targets.npy-more": raw})
    path.write_bytes(path.read_bytes().replace(b"targets.npy-", b"targets.npy\0"))
    assert "and no others" in refusal(path)


def test_a_stored_member_has_one_size(path):
    rewrite(path, {})
    raw = bytearray(path.read_bytes())
    at = raw.rfind(b"PK\1\2") + 20
    struct.pack_into("<L", raw, at, struct.unpack_from("<L", raw, at)[0] + 1)
    path.write_bytes(raw)
    assert "two sizes" in refusal(path)
