"""Arrays bound to the arguments of `forward`: by name, in its order, or refused by name; and handed over."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from edgekit.edge_runtime.errors import InputError, UsageError
from edgekit.optimize.user_model.inputs import array_inputs
from edgekit.optimize.user_model.module import Parts, first_run
from edgekit.optimize.user_model.request import Shape
from edgekit.optimize.user_model.signature import Signature, signature_of


class AllDefaults(nn.Module):
    def forward(self, input_ids=None, attention_mask=None, inputs_embeds=None, return_dict=None, **kwargs):
        return {"logits": input_ids * attention_mask, "loss": None}


class KeywordOnly(nn.Module):
    def forward(self, *, features, context):
        return features - 2 * context


class Optional(nn.Module):
    def forward(self, features, scale=None, context=None):
        return features if context is None else features + context


class OfDict(nn.Module):
    def forward(self, batch: dict[str, Tensor]):
        return batch["a"] - 2 * batch["b"]


class OfSomething(nn.Module):
    """Takes a pair, and does not say so."""

    def forward(self, pair):
        a, b = pair[0], pair[1]
        return a - 2 * b


class Anything(nn.Module):
    def forward(self, *inputs):
        return inputs[0] - 2 * inputs[1]


A, B = np.float32([[1, 2]]), np.float32([[5, 7]])


def answer(module, arrays):
    """What the assembled module gives to arrays that are bound as `optimize` binds them."""
    signature = signature_of(module)
    bound = signature.bound(arrays, "samples")
    sample = [torch.from_numpy(rows) for rows in bound.values()]
    for way in signature.passings(tuple(bound)):
        try:
            ran = first_run(module, sample, way, advice="")
        except InputError:
            continue
        parts = Parts(inputs=nn.Identity(), model=module, head=nn.Identity(), names=tuple(bound), passing=way,
                      outputs=ran.places)  # fmt: skip
        return list(bound), parts.module()(*sample)
    raise AssertionError("no way was taken")


@pytest.mark.parametrize(
    ("module", "arrays", "order", "wanted"),
    [
        (AllDefaults(), {"attention_mask": B, "input_ids": A}, ["input_ids", "attention_mask"], A * B),
        (KeywordOnly(), {"context": B, "features": A}, ["features", "context"], A - 2 * B),
        (Optional(), {"context": B, "features": A}, ["features", "context"], A + B),
        (Optional(), {"anything": A}, ["features"], A),
        (OfDict(), {"a": A, "b": B}, ["a", "b"], A - 2 * B),
        (OfSomething(), {"x": A, "y": B}, ["x", "y"], A - 2 * B),
        (Anything(), {"x": A, "y": B}, ["x", "y"], A - 2 * B),
        (torch.jit.script(nn.Identity()), {"x": A}, ["input"], A),
    ],
)
def test_arrays_go_where_their_names_say(module, arrays, order, wanted):
    names, found = answer(module, arrays)
    assert names == order
    assert np.array_equal(found.numpy(), wanted)


@pytest.mark.parametrize(
    ("module", "arrays", "message"),
    [
        (
            AllDefaults(),
            {"input_ids": A, "atention_mask": B},
            "'atention_mask' is no argument of forward, which takes inp",
        ),
        (Optional(), {"features": A, "contxt": B}, "'contxt' is no argument of forward, which takes features and, if"),
        (Optional(), {"context": A}, "no array for the input 'features'"),
        (nn.Linear(2, 2), {"input": A, "bias": B}, "'bias' is no argument"),
    ],
)
def test_what_does_not_fit_is_refused_by_its_name(module, arrays, message):
    with pytest.raises(InputError, match=message):
        signature_of(module).bound(arrays, "samples")


def test_arrays_without_names_are_taken_in_order():
    assert signature_of(Optional()).called(1) == ("features",)
    assert signature_of(Optional()).called(2) == ("features", "scale")
    with pytest.raises(InputError, match="4 arrays were given, and forward takes 3"):
        signature_of(Optional()).called(4)


def test_shapes_go_by_their_names_in_whatever_order():
    signature = Signature.of("a", "b")
    shapes = [Shape.parse("b=1,7"), Shape.parse("a=1,3:int64")]
    assert [(s.name, s.shape, s.dtype) for s in array_inputs(signature, shapes, None).specs] == [
        ("a", (1, 3), "int64"), ("b", (1, 7), "float32"),
    ]  # fmt: skip
    mixed = array_inputs(signature, [Shape.parse("b=1,7"), Shape.parse("1,3")], None)
    assert [spec.shape for spec in mixed.specs] == [(1, 3), (1, 7)]
    optional = array_inputs(signature_of(Optional()), [Shape.parse("context=1,7"), Shape.parse("features=1,7")], None)
    assert [spec.name for spec in optional.specs] == ["features", "context"]


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        (["c=1,2"], "c: there is no such input. The model takes a, b"),
        (["a=1,2", "a=1,3"], "a is given twice"),
        (["1,2", "1,3", "1,4"], "3 arrays were given, and forward takes 2|one too many"),
        (["a=1,2"], "shape of the input 'b' is not known"),
    ],
)
def test_shapes_that_fit_no_input_are_refused(shapes, message):
    with pytest.raises((UsageError, InputError), match=message):
        array_inputs(Signature.of("a", "b"), [Shape.parse(text) for text in shapes], None)
