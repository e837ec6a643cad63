"""What a model gives, however it is packed up, and where it writes into what is not its own."""

from collections import namedtuple
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from edgekit.edge_runtime.engines.torch_export import TorchExportSession
from edgekit.edge_runtime.engines.torchscript import TorchScriptSession
from edgekit.edge_runtime.errors import UsageError
from edgekit.optimize.user_model.model import own_model
from edgekit.optimize.user_model.module import Parts, first_run
from edgekit.optimize.user_model.request import Request
from edgekit.optimize.user_model.signature import Passing
from edgekit.optimize.user_model.source import Source


@dataclass
class Found:
    boxes: Tensor
    scores: Tensor | None = None


Pair = namedtuple("Pair", "left right")


class Giving(nn.Module):
    """Gives what `make` makes of its input."""

    def __init__(self, make):
        super().__init__()
        self.make = make

    def forward(self, x):
        return self.make(x)


X = torch.tensor([[1.0, 2.0]])


@pytest.mark.parametrize(
    ("make", "names", "numbers"),
    [
        (lambda x: x * 2, ["output"], [2]),
        (lambda x: [x, x * 3], ["output_0", "output_1"], [1, 3]),
        (lambda x: {"logits": x * 2, "past": None, "note": "text"}, ["logits"], [2]),
        (lambda x: {"a": (x, x * 2), "b": {"c": x * 3}}, ["a.0", "a.1", "b.c"], [1, 2, 3]),
        (lambda x: Found(boxes=x * 2, scores=x * 3), ["boxes", "scores"], [2, 3]),
        (lambda x: (Found(boxes=x), [x * 2]), ["output_0.boxes", "output_1.0"], [1, 2]),
        (lambda x: Pair(x, x * 2), ["left", "right"], [1, 2]),
        (lambda x: {0: x, 1: x * 2}, ["output_0", "output_1"], [1, 2]),
    ],
)
def test_answers_are_taken_out_of_whatever_holds_them(make, names, numbers):
    module, way = Giving(make), Passing(keywords=("",))
    ran = first_run(module, [X], way, advice="")
    parts = Parts(inputs=nn.Identity(), model=module, head=nn.Identity(), names=("x",), passing=way, outputs=ran.places)
    found = parts.module()(X)
    found = found if isinstance(found, tuple) else (found,)
    assert list(ran.answers) == names
    assert [float(tensor[0, 0]) for tensor in found] == numbers


def test_an_answer_without_a_tensor_is_refused():
    with pytest.raises(UsageError, match=r"tensors in a tuple, dict or dataclass; found note \(str\)"):
        first_run(Giving(lambda x: {"note": "text"}), [X], Passing(keywords=("",)), advice="")


class WritesInput(nn.Module):
    def forward(self, x):
        x.view(-1)[:1].mul_(4)
        return x * 2


class Counts(nn.Module):
    """Counts its runs, and answers alike in each."""

    def __init__(self):
        super().__init__()
        self.register_buffer("runs", torch.zeros((), dtype=torch.int64))

    def forward(self, x):
        self.runs += 1
        return x * 2


class Remembers(nn.Module):
    """Answers by what it was given before."""

    def __init__(self, *, replaces):
        super().__init__()
        self.replaces = replaces
        self.register_buffer("state", torch.zeros(1, 2))

    def forward(self, x):
        if self.replaces:
            self.state = self.state * 0.5 + x
        else:
            self.state.mul_(0.5).add_(x)
        return self.state * 2


def own(module):
    rows = np.random.default_rng(0).normal(size=(8, 2)).astype(np.float32)
    source = Source(what="net", name="net", module=module, weights="made by the test")
    return own_model(source, Request(model=module, calibration=rows, task="none"))


def test_an_input_that_is_written_into_is_copied_and_the_line_is_said():
    found = own(WritesInput())
    given = torch.tensor([[1.0, 2.0]])
    assert found.model.module(given).tolist() == [[8.0, 4.0]]
    assert given.tolist() == [[1.0, 2.0]]
    assert any("input 'x', and gets a copy" in text and "x.view(-1)[:1].mul_(4)" in text for text in found.says)


def test_a_counter_that_no_answer_reads_is_said_and_taken():
    module = Counts()
    found = own(module)
    assert "forward writes into runs, on which no answer depends" in found.says
    assert int(module.runs) == 0


@pytest.mark.parametrize("replaces", [False, True])
def test_a_state_that_answers_depend_on_is_refused(replaces):
    message = r"changes the buffer 'state' and answers by what is in it"
    line = "" if replaces else r".*self\.state\.mul_\(0\.5\)"
    with pytest.raises(UsageError, match=message + line + ".*an input and an output of forward"):
        own(Remembers(replaces=replaces))


@pytest.mark.parametrize("engine", ["torchscript", "torch_export"])
def test_a_run_never_changes_the_callers_array(engine, tmp_path):
    given, path = np.float32([[1, 2]]), tmp_path / "model.pt2"
    if engine == "torchscript":
        torch.jit.script(WritesInput()).save(path)
        session = TorchScriptSession(path, 1)
    else:
        with torch.no_grad():
            torch.export.save(torch.export.export(WritesInput(), (torch.ones(1, 2),)), path)
        session = TorchExportSession(path, 1)
    answers = [session.run([given])[0].tolist() for _ in range(2)]
    assert answers == [[[8.0, 4.0]]] * 2
    assert given.tolist() == [[1.0, 2.0]]
