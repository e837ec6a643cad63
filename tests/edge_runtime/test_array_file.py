"""Arrays that somebody gives: numbers are read, whatever else an archive can hold is refused, and so are bombs."""

import io
import json
import re
import zipfile

import numpy as np
import pytest

from edgekit.cli import json_answer
from edgekit.edge_runtime.array_file import read_array_file
from edgekit.edge_runtime.bundle.manifest import TensorSpec
from edgekit.edge_runtime.errors import InputError
from edgekit.edge_runtime.preprocess.samples import sample_of_row, samples_of_files
from edgekit.optimize.user_model.picture_samples import read_labels

SPEC = TensorSpec(name="x", dtype="float32", shape=(1, 4))


def archive(path, members, method=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", method) as file:
        for name, content in members:
            file.writestr(name, content)
    return path


def npy(array):
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def test_the_content_says_what_it_is_and_not_the_ending(tmp_path):
    rows = np.arange(8.0).reshape(2, 4)
    np.savez_compressed(tmp_path / "a.npz", x=rows)
    (tmp_path / "a.npz").rename(tmp_path / "a.npy")
    assert np.array_equal(read_array_file(tmp_path / "a.npy")["x"], rows)
    (tmp_path / "b.npz").write_bytes(npy(rows))
    assert np.array_equal(read_array_file(tmp_path / "b.npz"), rows)


@pytest.mark.parametrize(
    ("members", "method", "message"),
    [
        ([("x", b"hello")], zipfile.ZIP_STORED, "'x', which is no array"),
        ([("x.npy", b"hello")], zipfile.ZIP_STORED, "no .npy or .npz of plain numbers"),
        ([("x.npy", npy(np.array([{}], object)))], zipfile.ZIP_STORED, "it holds Python objects"),
        ([("x.npy", npy(np.zeros(10**7)))], zipfile.ZIP_BZIP2, "packed in a way that numpy never uses"),
        ([("x.npy", npy(np.zeros(4))), ("x.npy", npy(np.ones(4)))], zipfile.ZIP_STORED, "two arrays of one name"),
    ],
)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_what_is_no_archive_of_arrays_is_refused(tmp_path, members, method, message):
    path = archive(tmp_path / "x.npz", members, method)
    for read in (lambda: read_array_file(path), lambda: list(samples_of_files([str(path)], [SPEC]))):
        with pytest.raises(InputError, match=re.escape(message)):
            read()


@pytest.mark.parametrize(("field", "place"), [("packed", 20), ("unpacked", 24)])
def test_no_more_is_unpacked_than_a_file_can_hold(tmp_path, field, place):
    path = archive(tmp_path / "x.npz", [("x.npy", npy(np.zeros(999)))], zipfile.ZIP_DEFLATED)
    raw = bytearray(path.read_bytes())
    at = raw.index(b"PK\1\2") + place  # the size in the archive's directory
    raw[at : at + 4] = (4 << 28).to_bytes(4, "little")
    path.write_bytes(raw)
    with pytest.raises(InputError, match=r"says that it unpacks to [0-9,]+ bytes, more than"):
        read_array_file(path)


def test_numbers_that_become_infinite_and_files_of_no_sample_are_refused(tmp_path):
    np.save(tmp_path / "huge.npy", np.full((1, 4), 1e300))
    with pytest.raises(InputError, match="some of them are not in it"):
        list(samples_of_files([str(tmp_path / "huge.npy")], [SPEC]))
    with pytest.raises(InputError, match="some of them are not in it"):
        sample_of_row("1e300,1,1,1", [SPEC])
    np.save(tmp_path / "none.npy", np.zeros((0, 4)))
    with pytest.raises(InputError, match="holds no sample"):
        list(samples_of_files([str(tmp_path / "none.npy")], [SPEC]))


def test_the_mark_of_an_editor_is_no_part_of_a_label(tmp_path):
    (tmp_path / "labels.txt").write_bytes(b"\xef\xbb\xbfcat\ndog\n")
    assert read_labels(tmp_path / "labels.txt") == ("cat", "dog")


def test_json_says_a_terminals_controls_in_escapes(capsys):
    text = "a\x9b31m\u202eb\u200bc\ufeffä"
    json_answer.print_json({"label": text})
    printed = capsys.readouterr().out
    assert json.loads(printed) == {"label": text}
    assert [c for c in printed if not c.isprintable() and c != "\n"] == []
