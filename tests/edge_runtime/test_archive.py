"""Archives: equal files give equal bytes, other tools can read them, and nothing but that one form is unpacked."""

import hashlib
import random
import struct
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.edge_runtime.bundle.archive import MAX_MEMBERS, extract_zip, write_zip
from edgekit.edge_runtime.errors import BundleError

resource = pytest.importorskip("resource")  # which Windows lacks

CONTENT = {"manifest.json": b'{"a": 1}\n', "Z.bin": b"", "model.onnx": bytes(range(256)) * 5}


def pack(folder: Path, content: dict[str, bytes] = CONTENT) -> Path:
    folder.mkdir(exist_ok=True)
    for name, data in content.items():
        (folder / name).write_bytes(data)
    write_zip([(name, folder / name) for name in content], folder / "bundle.zip")
    return folder / "bundle.zip"


def content_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()} if folder.exists() else {}


def python_zip(path: Path, members: list[tuple[str, bytes]], **info_fields: int) -> Path:
    """An archive as Python's zipfile makes it, with `info_fields` set on the last member."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members:
            info = zipfile.ZipInfo(name)
            info.external_attr = 0o100644 << 16
            if (name, data) == members[-1]:
                for field, value in info_fields.items():
                    setattr(info, field, value)
            archive.writestr(info, data)
    return path


def refusal(archive: Path, into: Path) -> str:
    """The refusal's text, once it is certain that nothing was left behind."""
    with pytest.raises(BundleError) as caught:
        extract_zip(archive, into)
    assert content_of(into) == {}
    assert str(archive) in str(caught.value)
    return str(caught.value)


def test_what_went_in_comes_out(tmp_path):
    extract_zip(pack(tmp_path / "in"), tmp_path / "out")
    assert content_of(tmp_path / "out") == CONTENT


def test_the_bytes_are_a_promise(tmp_path):
    found = hashlib.sha256(pack(tmp_path / "in").read_bytes()).hexdigest()
    assert found == "9fd55be47bd0a7f8d5ffe5901da2f51811d1d36055ce60b8f12d17d3086f6304"


def test_order_dates_and_permissions_do_not_matter(tmp_path):
    first = pack(tmp_path / "a").read_bytes()
    second = pack(tmp_path / "b", dict(reversed(CONTENT.items())))
    (tmp_path / "b" / "model.onnx").chmod(0o700)
    write_zip([(name, tmp_path / "b" / name) for name in CONTENT], second)
    assert second.read_bytes() == first


def test_other_tools_read_it(tmp_path):
    with zipfile.ZipFile(pack(tmp_path / "in")) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == ["manifest.json", "Z.bin", "model.onnx"]
        assert {name: archive.read(name) for name in archive.namelist()} == CONTENT
        assert {info.date_time for info in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}


def test_python_zipfile_writes_the_same_bytes(tmp_path):
    """The layout is not our invention: an independent writer, given the same fields, makes the same file."""
    members = [(name, CONTENT[name]) for name in ("manifest.json", "Z.bin", "model.onnx")]
    assert python_zip(tmp_path / "p.zip", members).read_bytes() == pack(tmp_path / "in").read_bytes()


@settings(deadline=None, max_examples=30)
@given(st.dictionaries(st.from_regex(r"[a-z0-9][a-z0-9._-]{0,9}", fullmatch=True), st.binary(max_size=99), max_size=9))
def test_any_files_round_trip(tmp_path_factory, content):
    content = content | {"manifest.json": b"{}"}
    content.pop("bundle.zip", None)
    folder = tmp_path_factory.mktemp("any")
    extract_zip(pack(folder / "in", content), folder / "out")
    assert content_of(folder / "out") == content


def test_a_flipped_bit_in_any_byte_is_refused(tmp_path):
    archive = pack(tmp_path / "in")
    raw = archive.read_bytes()
    for at in range(len(raw)):
        archive.write_bytes(raw[:at] + bytes([raw[at] ^ 1 << at % 8]) + raw[at + 1 :])
        assert "was refused" in refusal(archive, tmp_path / "out")


@pytest.mark.parametrize("seed", range(40))
def test_cut_prepended_appended_or_inserted_data_is_refused(tmp_path, seed):
    archive, chance = pack(tmp_path / "in"), random.Random(seed)
    raw = archive.read_bytes()
    at, junk = chance.randrange(len(raw)), chance.randbytes(chance.randint(1, 99))
    archive.write_bytes([raw[:at], raw[at + 1 :], junk + raw, raw + junk, raw[:at] + junk + raw[at:]][seed % 5])
    assert "was refused" in refusal(archive, tmp_path / "out")


@settings(deadline=None, max_examples=100)
@given(st.binary(max_size=300))
def test_random_bytes_are_refused(tmp_path_factory, raw):
    folder = tmp_path_factory.mktemp("random")
    (folder / "x.zip").write_bytes(raw)
    assert "was refused" in refusal(folder / "x.zip", folder / "out")


BAD_NAMES = ["../evil", "a/b", "/etc/passwd", "a\\b", "C:evil", "..", ".hidden", "-rf", "a b", "é", "x" * 129, "a/"]


@pytest.mark.parametrize("name", BAD_NAMES)
def test_a_name_that_is_not_plain_is_neither_read_nor_written(tmp_path, name):
    archive = python_zip(tmp_path / "x.zip", [("manifest.json", b"{}"), (name, b"evil")])
    assert "is not a plain file name" in refusal(archive, tmp_path / "out")
    with pytest.raises(BundleError, match="is not a plain file name"):
        write_zip([("manifest.json", archive), (name, archive)], tmp_path / "y.zip")


def test_a_nul_in_a_name_is_refused(tmp_path):
    archive = pack(tmp_path / "in")
    archive.write_bytes(archive.read_bytes().replace(b"model.onnx", b"model\0onnx"))
    assert r"'model\x00onnx' is not a plain file name" in refusal(archive, tmp_path / "out")


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"compress_type": zipfile.ZIP_DEFLATED}, "is compressed"),
        ({"compress_type": zipfile.ZIP_BZIP2}, "is compressed"),
        ({"external_attr": 0o120777 << 16}, "not a regular file"),
        ({"external_attr": 0o040755 << 16}, "not a regular file"),
        ({"external_attr": 0o020644 << 16}, "not a regular file"),
        ({"external_attr": 0o104755 << 16}, "not written by edgekit"),
        ({"create_system": 0}, "not written by edgekit"),
        ({"date_time": (1999, 1, 1, 0, 0, 0)}, "not written by edgekit"),
        ({"comment": b"hello"}, "not written by edgekit"),
        ({"extra": b"\xfe\xca\x00\x00"}, "not written by edgekit"),
    ],
)
def test_a_member_of_another_kind_is_refused(tmp_path, fields, reason):
    archive = python_zip(tmp_path / "x.zip", [("manifest.json", b"{}"), ("model.onnx", b"0" * 100)], **fields)
    assert reason in refusal(archive, tmp_path / "out")


def test_an_encrypted_member_is_refused(tmp_path):
    archive = pack(tmp_path / "in")
    raw = bytearray(archive.read_bytes())
    raw[raw.index(b"PK\1\2") + 8] |= 1
    archive.write_bytes(raw)
    assert "manifest.json is encrypted" in refusal(archive, tmp_path / "out")


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        (["manifest.json", "a", "a"], "the same name"),
        (["manifest.json", "Model.onnx", "model.onnx"], "the same name"),
        (["model.onnx"], "no manifest.json"),
        (["model.onnx", "manifest.json"], "bundle's order"),
        (["manifest.json", *(f"f{i:02}" for i in range(MAX_MEMBERS))], "65 members"),
        ([], "0 members"),
    ],
)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_an_impossible_set_of_members_is_refused(tmp_path, names, reason):
    assert reason in refusal(python_zip(tmp_path / "x.zip", [(name, b"") for name in names]), tmp_path / "out")


def test_overlapping_members_are_refused(tmp_path):
    """Two entries that share one copy of the data: how a small archive unpacks to a large one (Fifield, 2019)."""
    raw = pack(tmp_path / "in", {"manifest.json": b"{}", "a": b"x" * 50, "b": b"x" * 50}).read_bytes()
    last = raw.rindex(b"PK\1\2")
    first = raw.index(b"PK\3\4", 1)
    (tmp_path / "x.zip").write_bytes(raw[: last + 42] + struct.pack("<L", first) + raw[last + 46 :])
    assert "b overlaps another member" in refusal(tmp_path / "x.zip", tmp_path / "out")


def test_a_size_beyond_the_archive_is_refused(tmp_path):
    raw = pack(tmp_path / "in").read_bytes()
    at = raw.rindex(b"PK\1\2")
    lie = struct.pack("<2L", 0xFFFFFF00, 0xFFFFFF00)
    (tmp_path / "x.zip").write_bytes(raw[: at + 20] + lie + raw[at + 28 :])
    assert "do not fill the space" in refusal(tmp_path / "x.zip", tmp_path / "out")


def test_an_archive_over_4_gib_is_refused_from_its_size(tmp_path):
    with (tmp_path / "x.zip").open("wb") as file:
        file.truncate(5 << 30)  # sparse: takes no space
    assert "5,368,709,120 bytes" in refusal(tmp_path / "x.zip", tmp_path / "out")


def test_what_is_already_there_is_kept(tmp_path):
    archive = pack(tmp_path / "in")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "model.onnx").symlink_to(tmp_path / "victim")
    with pytest.raises(BundleError, match="File exists"):
        extract_zip(archive, tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["model.onnx"]
    assert not (tmp_path / "victim").exists()


@pytest.mark.parametrize("path", ["nothing.zip", "folder", "empty"])
def test_what_cannot_be_read_is_refused(tmp_path, path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "empty").touch()
    assert path in refusal(tmp_path / path, tmp_path / "out")


def test_a_full_disk_when_unpacking_leaves_nothing(tmp_path):
    archive = pack(tmp_path / "in")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))  # the last member has 1,280 bytes
    try:
        assert "was not unpacked: File too large" in refusal(archive, tmp_path / "out")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_failed_write_leaves_the_old_archive(tmp_path):
    archive = pack(tmp_path / "in")
    before = archive.read_bytes()
    with pytest.raises(BundleError, match=r"was not written: No such file or directory: .*gone"):
        write_zip([("manifest.json", tmp_path / "in" / "manifest.json"), ("gone", tmp_path / "gone")], archive)
    assert archive.read_bytes() == before
    assert len(list((tmp_path / "in").iterdir())) == len(CONTENT) + 1
