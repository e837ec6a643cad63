"""The order in which a search under a time budget tries things."""

import pytest

from edgekit.optimize.combinations import ORDERS, combinations, most_promising_first
from edgekit.optimize.recipes import RECIPES
from edgekit.optimize.report.verdict import OBJECTIVES
from edgekit.optimize.user_model.request import Request

PAIRS = combinations(Request(model="m"))


def _names(objective):
    return [(e.name, r.name) for e, r in most_promising_first(PAIRS, objective)]


def test_every_objective_has_an_order_of_known_recipes():
    assert set(ORDERS) == set(OBJECTIVES)
    assert all(set(order) <= set(RECIPES) for order in ORDERS.values())


def test_int8_comes_before_float_and_half_precision_is_for_size_alone():
    for objective in OBJECTIVES:
        assert _names(objective)[0][1] == "w8a8_static"
    latency, size = ([name for _, name in _names(objective)] for objective in ("latency", "size"))
    assert latency.index("fp32") < latency.index("fp16")
    assert size.index("fp16") < size.index("fp32")


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_nothing_is_lost_and_what_a_failure_calls_for_comes_after_it(objective):
    found = _names(objective)
    assert sorted(found) == sorted((e.name, r.name) for e, r in PAIRS)
    for exporter, recipe in PAIRS:
        if recipe.after and (exporter.name, recipe.after) in found:
            assert found.index((exporter.name, recipe.after)) < found.index((exporter.name, recipe.name))


def test_what_is_named_twice_is_made_once():
    asked = Request(model="m", exporters=("onnx", "onnx"), recipes=("fp32", "w8a8_static", "fp32"))
    assert [(e.name, r.name) for e, r in combinations(asked)] == [("onnx", "fp32"), ("onnx", "w8a8_static")]
