"""What an ONNX file says before native code sees it: other files that it names are found wherever they hide."""

import random
from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pytest
from corruptions import damaged, flipped
from onnx import TensorProto, helper, numpy_helper
from tiny_bundle import make_bundle, onnx_model, quarter_weights

from edgekit.edge_runtime import engines
from edgekit.edge_runtime.bundle import versions
from edgekit.edge_runtime.bundle.bundle import Bundle
from edgekit.edge_runtime.bundle.onnx_file import MOST_FIELDS, names_other_files, onnx_versions
from edgekit.edge_runtime.command_line import PIP
from edgekit.edge_runtime.errors import BundleError, EdgekitError

FLOAT = TensorProto.FLOAT


def elsewhere(name="w", location="/etc/hostname"):
    tensor = TensorProto(name=name, data_type=FLOAT, dims=[4], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value=location)
    return tensor


def graph(nodes=(), initializers=(), sparse=()):
    values = [helper.make_tensor_value_info("x", FLOAT, [4])]
    return helper.make_graph(list(nodes), "g", values, values, list(initializers), sparse_initializer=list(sparse))


def constant(tensor):
    return helper.make_node("Constant", [], ["c"], value=tensor)


def function_with(tensor):
    return helper.make_function("org.example", "F", [], ["c"], [constant(tensor)], [helper.make_opsetid("", 17)])


def sparse_with(tensor):
    indices = numpy_helper.from_array(np.arange(4), "i")
    return onnx.SparseTensorProto(values=tensor, indices=indices, dims=[9])


HIDDEN = {
    "an initializer": lambda t: helper.make_model(graph(initializers=[t])),
    "a constant": lambda t: helper.make_model(graph([constant(t)])),
    "a branch in a branch": lambda t: helper.make_model(
        graph([helper.make_node("If", ["x"], ["y"], then_branch=graph([helper.make_node(
            "If", ["x"], ["y"], else_branch=graph(initializers=[t]))]))])
    ),
    "a function": lambda t: helper.make_model(graph(), functions=[function_with(t)]),
    "a sparse tensor": lambda t: helper.make_model(graph(sparse=[sparse_with(t)])),
    "a list of tensors": lambda t: helper.make_model(graph([helper.make_node("N", [], ["y"], values=[t])])),
}  # fmt: skip


@pytest.mark.parametrize("where", HIDDEN)
def test_numbers_in_another_file_are_found_in(tmp_path, where):
    (tmp_path / "x").write_bytes(HIDDEN[where](elsewhere()).SerializeToString())
    assert names_other_files(tmp_path / "x")
    (tmp_path / "x").write_bytes(HIDDEN[where](numpy_helper.from_array(np.ones(4), "w")).SerializeToString())
    assert not names_other_files(tmp_path / "x")


def test_the_length_of_the_key_may_be_written_in_a_longer_form(tmp_path):
    raw = HIDDEN["an initializer"](elsewhere()).SerializeToString()
    (tmp_path / "x").write_bytes(raw.replace(b"\x08location", b"\x88\x00location"))
    assert names_other_files(tmp_path / "x")


def test_a_file_of_endless_fields_is_refused(tmp_path):
    raw = HIDDEN["an initializer"](numpy_helper.from_array(np.ones(4), "location")).SerializeToString()
    (tmp_path / "x").write_bytes(raw + b"\x10\x01" * MOST_FIELDS)  # fields of two bytes each
    assert names_other_files(tmp_path / "x")
    (tmp_path / "x").write_bytes(raw + b"\x10\x01" * 1_000)
    assert not names_other_files(tmp_path / "x")


def test_the_word_alone_names_no_file(tmp_path):
    model = helper.make_model(graph([helper.make_node("N", [], ["location"], name="location", location="location")]))
    helper.set_model_props(model, {"location": "here"})
    (tmp_path / "x").write_bytes(model.SerializeToString())
    assert b"\x08location" in model.SerializeToString()
    assert not names_other_files(tmp_path / "x")


@pytest.mark.parametrize("location", ["/etc/hostname", "../x.bin", "model.onnx", "golden.npz"])
def test_such_a_bundle_is_not_loaded_by_any_engine(tmp_path, location):
    model = onnx.load_from_string(onnx_model(quarter_weights()))
    weights = next(tensor for tensor in model.graph.initializer if tensor.name == "weights")
    weights.ClearField("raw_data")
    weights.data_location = TensorProto.EXTERNAL
    weights.external_data.add(key="location", value=location)
    bundle = Bundle.open(make_bundle(tmp_path, name="x", model_bytes=model.SerializeToString()))
    for engine in ("", "openvino"):
        with pytest.raises(BundleError, match=r"model\.onnx has some of its numbers in another file"):
            versions.check(bundle.manifest, bundle.model_path, engine)


def test_whatever_is_in_the_file_the_check_says_no_or_lets_it_pass(tmp_path):
    """500 seeded accidents to a file with everything in it, and to the first bytes, where the versions stand."""
    whole = HIDDEN["a branch in a branch"](elsewhere()).SerializeToString()
    plain = onnx_model(quarter_weights())
    manifest = Bundle.open(make_bundle(tmp_path, name="x")).manifest
    path, outcomes = tmp_path / "model.onnx", set()
    for seed in range(500):
        chance = random.Random(seed)
        raw = whole if seed % 2 else plain[:64] + plain[-64:]
        for _ in range(chance.randint(1, 5)):
            raw = (flipped if chance.random() < 0.5 else damaged)(raw or b"\0", chance)
        path.write_bytes(raw)
        assert all(type(number) is int for number in onnx_versions(path))
        try:
            versions.check(manifest, path)
            outcomes.add("passes")
        except EdgekitError:
            outcomes.add("refused")
    assert outcomes == {"passes", "refused"}


def test_an_engine_that_is_older_than_the_one_that_made_the_file_is_named_where_it_fails(tmp_path):
    path = make_bundle(tmp_path, name="x", model_bytes=b"\x08\x0a" + b"no model at all")
    manifest = Bundle.open(path).manifest
    newer = replace(manifest, tools=manifest.tools | {"onnxruntime": "99.1.0"})
    (path / "manifest.json").write_bytes(newer.to_bytes())
    with (
        pytest.warns(RuntimeWarning, match="proven on onnxruntime 99"),
        pytest.raises(EdgekitError, match=rf"Run: {PIP} install 'onnxruntime>=99\.1\.0'"),
    ):
        engines.load(Bundle.open(path))


def test_a_tag_of_more_than_32_bits_is_another_field_to_protobuf(tmp_path):
    np.arange(4, dtype=np.float32).tofile(tmp_path / "x.bin")
    rest = helper.make_model(graph([helper.make_node("Add", ["x", "w"], ["y"])]), ir_version=8)
    rest.opset_import[0].version = 17
    rest.graph.output[0].name = "y"
    inside = rest.graph.SerializeToString() + b"\x2a" + _with_length(elsewhere(location="x.bin").SerializeToString())
    rest.ClearField("graph")
    # 0xba 0x80 0x80 0x80 0x10 is 7 << 3 | 2, the tag of a graph, and a bit beyond the 32nd, which is dropped.
    raw = rest.SerializeToString() + b"\xba\x80\x80\x80\x10" + _with_length(inside)
    (tmp_path / "x.onnx").write_bytes(raw)
    session = onnxruntime.InferenceSession(tmp_path / "x.onnx", providers=["CPUExecutionProvider"])
    assert session.run(None, {"x": np.zeros(4, np.float32)})[0].tolist() == [0, 1, 2, 3]
    assert names_other_files(tmp_path / "x.onnx")


def _with_length(message):
    assert len(message) < 128
    return bytes([len(message)]) + message
