"""What runs before the first layer, by position in a profile."""

from dataclasses import replace

import pytest
from tiny_bundle import make_bundle

from edgekit.edge_runtime.profiling.front_end import front_end
from edgekit.edge_runtime.profiling.operators import Operator
from edgekit.edge_runtime.profiling.profile import profile_bundle


@pytest.fixture(scope="module")
def profile(tmp_path_factory):
    return profile_bundle(make_bundle(tmp_path_factory.mktemp("bundles"), name="quarters-onnx-fp32"), seconds=0.1)


def test_all_before_the_first_product_of_matrices_is_the_front_end(profile):
    front = front_end(profile)
    assert front.kinds == ("Cast", "Mul", "Flatten")
    assert front.share == pytest.approx(1 - sum(profile.share(operator) for operator in profile.operators[3:]))


def test_an_operator_of_unknown_arithmetic_is_a_layer_and_without_any_there_is_no_front_end(profile):
    times = {"Cast": 2000, "Scan": 6000, "Conv": 2000}
    macs = {"Cast": 0, "Scan": None, "Conv": 8}
    operators = tuple(Operator(name=kind, kind=kind, ns=(ns,), macs=macs[kind]) for kind, ns in times.items())
    front = front_end(replace(profile, operators=operators))
    assert (front.kinds, front.share) == (("Cast",), pytest.approx(0.2))
    assert front_end(replace(profile, operators=operators[:1])) is None
