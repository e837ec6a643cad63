"""Models of other makes, as objects and files: TorchScript, torch.export, torch.compile, Lightning; first guesses."""

import lightning
import numpy as np
import pytest
import torch
from own_net import Net
from torch import nn

from edgekit.edge_runtime.command_line import EDGEKIT
from edgekit.edge_runtime.errors import EdgekitError, MissingData, UsageError
from edgekit.optimize.capture import capture
from edgekit.optimize.user_model.guesses import model_names
from edgekit.optimize.user_model.model import own_model
from edgekit.optimize.user_model.request import Request
from edgekit.optimize.user_model.sources import of_module, open_source

X = torch.linspace(-1, 1, 192).reshape(1, 3, 8, 8)
WANTED = Net()(X)


class Looping(nn.Module):
    """Of a loop and a branch that scripting keeps."""

    def __init__(self):
        super().__init__()
        self.net = Net()

    def forward(self, x):
        for _ in range(2):
            x = x * 2
        if x.shape[1] == 3:
            x = x / 4
        return self.net(x)


class Lit(lightning.LightningModule):
    def __init__(self):
        super().__init__()
        self.net = Net()

    def forward(self, x):
        return self.net(x)


def made(kind):
    with torch.no_grad():
        return {
            "scripted": lambda: torch.jit.script(Looping()),
            "traced": lambda: torch.jit.trace(Net(), X),
            "script inside": lambda: nn.Sequential(torch.jit.script(Looping())),
            "exported": lambda: torch.export.export(Net(), (X,)),
            "exported module": lambda: torch.export.export(Net(), (X,)).module(),
            "compiled": lambda: torch.compile(Net()),
            "compiled inside": lambda: nn.Sequential(torch.compile(Net())),
            "data parallel": lambda: nn.DataParallel(Net()),
            "lightning": Lit,
        }[kind]()


KINDS = ["scripted", "traced", "script inside", "exported", "exported module", "compiled", "compiled inside",
         "data parallel", "lightning"]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_each_is_taken_run_and_captured(kind):
    model = made(kind)
    rows = np.repeat(X.numpy(), 4, axis=0) * np.float32([[[[1]]], [[[2]]], [[[3]]], [[[4]]]])
    own = own_model(of_module(model), Request(model=model, calibration=rows, task="none")).model
    with torch.no_grad():
        assert torch.allclose(own.module(X), WANTED, atol=1e-5)
        assert torch.allclose(capture(own).module()(X), WANTED, atol=1e-5)


@pytest.mark.parametrize(("kind", "name"), [("scripted", "net.ts"), ("traced", "net.pt"), ("exported", "net.pt2")])
def test_their_files_are_models_themselves(kind, name, tmp_path):
    model = made(kind)
    if kind == "exported":
        torch.export.save(model, tmp_path / name)
    else:
        model.save(tmp_path / name)
    source = open_source(str(tmp_path / name))
    assert source.name == "net"
    assert torch.allclose(source.module(X), WANTED, atol=1e-5)


def test_weights_from_python_are_loaded_into_a_copy(tmp_path):
    net, other = Net(), Net()
    with torch.no_grad():
        other.fc.bias.fill_(0.5)
    torch.save(other.state_dict(), tmp_path / "w.pt")
    source = of_module(net, weights=tmp_path / "w.pt")
    assert (source.module.fc.bias.tolist(), net.fc.bias.tolist()) == ([0.5] * 4, [0.0] * 4)
    assert source.weights == "w.pt, given by the user"


CODE = """
import torch
from torch import nn

class Net(nn.Module): ...
class Sized(nn.Module):
    def __init__(self, size): ...
class Other: ...
def build(pretrained=False): ...
def needs(path): ...
def _hidden(): ...
net = Net()
"""


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("weights.pt", "is a weights file: give the model that it is for, then --weights"),
        ("my_net.py", r"which of its names gives the model: build, Net, net\?"),
        ("empty.py", "no class or function"),
        ("missing.py", "there is no file missing.py"),
        ("net.onnx", "exported already"),
        ("resnet18", r"torchvision:resnet18 or timm:resnet18\?|torchvision:resnet18\?"),
        ("hugging", "looks like a Hugging Face model"),
        ("bundle", f"finished bundle. {EDGEKIT} verify bundle"),
    ],
)
def test_first_guesses_are_answered(what, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({}, tmp_path / "weights.pt")
    (tmp_path / "my_net.py").write_text(CODE)
    (tmp_path / "empty.py").write_text("number = 3\n")
    for folder, file in (("hugging", "config.json"), ("bundle", "manifest.json")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / file).write_text("{}")
    with pytest.raises(UsageError, match=message):
        open_source(what)
    assert model_names(tmp_path / "my_net.py") == ["build", "Net", "net"]


def test_programs_that_are_not_there_or_damaged_are_told(tmp_path):
    with pytest.raises(MissingData, match="there is no file"):
        open_source(str(tmp_path / "no.pt2"))
    with torch.no_grad():
        torch.export.save(torch.export.export(nn.Linear(2, 2), (torch.ones(1, 2),)), tmp_path / "net.pt2")
    raw = (tmp_path / "net.pt2").read_bytes()
    (tmp_path / "cut.pt2").write_bytes(raw.replace(b"linear", b"lineer"))
    with pytest.raises(EdgekitError, match=r"cut\.pt2 cannot be loaded"):
        open_source(str(tmp_path / "cut.pt2"))


def test_torchvisions_weights_go_by_name():
    with pytest.raises(UsageError, match="are no weights of torchvision's squeezenet1_1. It has SqueezeNet1_1_Weights"):
        open_source("torchvision:squeezenet1_1", weights="ResNet18_Weights.DEFAULT")
    with pytest.raises(UsageError, match="torchvision has no weights ResNet18_Weights.NEW"):
        open_source("own_net:build", weights="ResNet18_Weights.NEW")


def test_a_model_of_timm_says_its_pictures_whoever_built_it():
    timm = pytest.importorskip("timm")
    source = of_module(timm.create_model("test_vit.r160_in1k"))
    assert (source.taken.height, len(source.labels)) == (160, 1000)
