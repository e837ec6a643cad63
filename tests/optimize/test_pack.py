"""How a bundle's folder comes into place: whole or not at all."""

from edgekit.optimize.pack import _staging


def test_what_a_killed_run_left_beside_a_bundle_stops_no_later_one(tmp_path):
    target = tmp_path / "digits_cnn-onnx-fp32"
    (tmp_path / f".{target.name}.old").mkdir()
    (tmp_path / f".{target.name}.old" / "model.onnx").write_bytes(b"half")
    for text in ("first", "second"):
        with _staging(tmp_path, target.name) as folder:
            (folder / "model.onnx").write_text(text)
    assert (target / "model.onnx").read_text() == "second"
