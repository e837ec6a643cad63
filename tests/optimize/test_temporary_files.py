"""What libraries put into temporary files while a bundle is made goes with a folder of ours."""

import os
import tempfile

from tiny_bundle import onnx_model, quarter_pictures, quarter_weights
from torch._inductor.runtime.cache_dir_utils import cache_dir

from edgekit.edge_runtime.temporary import PREFIX
from edgekit.optimize.recipes.w8a8_static import quantize_onnx
from edgekit.optimize.temporary_files import collected


def test_a_temporary_file_of_a_library_is_in_the_folder_and_goes_with_it(monkeypatch):
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)
    before, usual = tempfile.tempdir, tempfile.gettempdir()
    with collected() as folder:
        assert folder.name.startswith(PREFIX)
        left = tempfile.mkdtemp(prefix="ort.quant.")
        assert os.path.dirname(left) == str(folder)
        assert os.path.dirname(cache_dir()) == usual  # torch's own cache is no leftover
    assert not folder.exists()
    assert tempfile.tempdir == before
    assert "TORCHINDUCTOR_CACHE_DIR" not in os.environ


def test_quantizing_leaves_nothing_and_writes_nowhere_else(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "usual"))
    (tmp_path / "usual").mkdir()
    (tmp_path / "x.onnx").write_bytes(onnx_model(quarter_weights()))
    made = []
    whole = tempfile.mkdtemp
    monkeypatch.setattr(tempfile, "mkdtemp", lambda *a, **k: made.append(whole(*a, **k)) or made[-1])
    with collected() as folder:
        quantize_onnx(tmp_path / "x.onnx", tmp_path / "y.onnx", {"image": quarter_pictures()[0]})
    assert any("quant." in path for path in made)
    assert all(path.startswith(str(folder)) for path in made)
    assert list((tmp_path / "usual").iterdir()) == []
    assert (tmp_path / "y.onnx").is_file()
