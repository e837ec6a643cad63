"""What the page says about numbers and foreign text, and which two bundles it begins with."""

import subprocess
import sys
from pathlib import Path

import pytest
from tiny_bundle import change_manifest, make_bundle

from edgekit.demo_app.page_html import escape_html, escape_markdown
from edgekit.demo_app.shelf import default_pair, read_shelf
from edgekit.edge_runtime.bundle.bundle import Bundle

ROOT = Path(__file__).resolve().parents[2]


def test_foreign_text_is_escaped():
    assert escape_html('<b a="1">') == "&lt;b a=&quot;1&quot;&gt;"
    assert escape_markdown("![x](http://a)\n$y$ :red[z]") == r"\!\[x\]\(http\://a\) \$y\$ \:red\[z\]"


@pytest.mark.parametrize(
    ("recipes", "pair"),
    [
        (["fp32", "w8_dynamic", "w8a8_static"], (0, 2)),
        (["w8_dynamic", "fp32"], (1, 0)),
        (["fp16", "w8a8_static"], (0, 1)),
        (["fp32", "fp32"], (1, 0)),
        (["w8a8_static"], (0, 0)),
    ],
)
def test_the_page_begins_with_a_full_and_a_quantized_bundle(tmp_path, recipes, pair):
    paths = [make_bundle(tmp_path, name=f"b{i}", recipe=recipe) for i, recipe in enumerate(recipes)]
    assert default_pair([Bundle.open(path) for path in paths]) == pair


def test_an_unverified_bundle_is_not_what_the_page_begins_with(tmp_path):
    make_bundle(tmp_path, name="a", recipe="w8a8_static", status="unverified")
    make_bundle(tmp_path, name="b")
    make_bundle(tmp_path, name="c", recipe="w8_dynamic")
    shelf = read_shelf(tmp_path, lambda path, _: Bundle.open(path))
    assert default_pair(shelf.models["quarters"]) == (1, 2)


def test_a_bundle_that_runs_code_is_offered_only_when_its_format_is_allowed(tmp_path):
    change_manifest(make_bundle(tmp_path, name="a"), artifact={"format": "torchscript"})
    make_bundle(tmp_path, name="b")
    careful, asked = (read_shelf(tmp_path, lambda path, _: Bundle.open(path), allow=a) for a in ((), ("torchscript",)))
    assert ([b.name for b in careful.models["quarters"]], [r.path.name for r in careful.run_code]) == (["b"], ["a"])
    assert "add --allow torchscript" in careful.run_code[0].reason
    assert ([b.name for b in asked.models["quarters"]], asked.run_code) == (["a", "b"], ())
    assert careful.refused == asked.refused == ()


def test_the_page_process_loads_no_engine_and_no_training_library():
    names = [path.stem for path in (ROOT / "demo_app").glob("*.py") if path.stem != "__init__"]
    modules = [f"edgekit.demo_app.{name}" for name in sorted(names)]
    code = f"import sys, {', '.join(modules)}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    loaded = set(done.stdout.split())
    assert {"edgekit.demo_app", "edgekit.edge_runtime", "streamlit"} <= loaded, done.stderr
    heavy = {"torch", "edgekit.train", "edgekit.optimize", "onnx", "onnxruntime", "executorch", "lightning"}
    assert loaded & heavy == set()
