"""Weights as trainers leave them: nested, prefixed, versioned, beside objects of their own, and whole modules."""

import argparse
import random
import re
import zipfile

import lightning
import pytest
import torch
from own_net import Net
from safetensors.torch import save_file
from torch import nn

from edgekit.edge_runtime.command_line import EDGEKIT
from edgekit.edge_runtime.errors import EdgekitError, UsageError
from edgekit.optimize.user_model.weights import load_own_weights
from edgekit.optimize.user_model.weights_file import StandIn, program_in, read_checkpoint


class Versioned(nn.Module):
    """Reads weights of its first version the other way round."""

    _version = 2

    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.arange(3.0))

    def _load_from_state_dict(self, state, prefix, metadata, *rest):
        if (metadata.get("version") or 1) < 2:
            state[prefix + "w"] = state[prefix + "w"].flip(0)
        super()._load_from_state_dict(state, prefix, metadata, *rest)


class Tied(nn.Module):
    """A head that shares its weights with the embedding, as language models have it."""

    def __init__(self):
        super().__init__()
        self.words, self.head = nn.Embedding(4, 2), nn.Linear(2, 4, bias=False)
        self.head.weight = self.words.weight


class Trainer(lightning.LightningModule):
    def __init__(self):
        super().__init__()
        self.model = Net()
        self.loss = nn.CrossEntropyLoss(weight=torch.ones(4))


def other(value=0.5):
    """The state dict of a net that is not as it is built."""
    net = Net()
    with torch.no_grad():
        net.fc.bias.fill_(value)
    return net.state_dict()


def under(prefix, state):
    return {prefix + key: value for key, value in state.items()}


@pytest.mark.parametrize(
    ("saved", "said"),
    [
        (other(), ""),
        (under("module.", other()), "took the prefix 'module.' off every key"),
        (under("module._orig_mod.", other()), "'_orig_mod.' off every key"),
        ({"model": {"state_dict": under("model.", other())}}, "'model.' off"),
        (under("module.", other()) | {"n_averaged": torch.tensor(3)}, "left out of w.pt.*: n_averaged"),
        ({"epoch": 3, "ema": other(), "optimizer": {"state": {}}}, ""),
        ({"ema": {"module": other()}}, ""),
        ({"state_dict": other(), "state_dict_ema": other(9)}, r"--weights .*w\.pt#state_dict_ema"),
        ({"model": other(), "args": argparse.Namespace(lr=1)}, ""),
    ],
)
def test_what_trainers_leave_is_loaded(saved, said, tmp_path):
    torch.save(saved, tmp_path / "w.pt")
    net = Net()
    notes = " ".join(load_own_weights(net, tmp_path / "w.pt"))
    assert net.fc.bias.tolist() == [0.5] * 4
    assert re.search(said, notes)


def test_the_averaged_weights_are_taken_where_they_are_asked_for(tmp_path):
    torch.save({"state_dict": other(), "state_dict_ema": other(9)}, tmp_path / "w.pt")
    net = Net()
    load_own_weights(net, tmp_path / "w.pt#state_dict_ema")
    assert net.fc.bias.tolist() == [9.0] * 4
    with pytest.raises(UsageError, match="no state dict under 'other'"):
        load_own_weights(net, tmp_path / "w.pt#other")


@pytest.mark.parametrize("prefix", ["", "module."])
def test_the_version_in_the_metadata_is_kept(prefix, tmp_path):
    module = nn.DataParallel(Versioned()) if prefix else Versioned()
    torch.save(module.state_dict(), tmp_path / "w.pt")
    loaded = Versioned()
    load_own_weights(loaded, tmp_path / "w.pt")
    assert loaded.w.tolist() == [0.0, 1.0, 2.0]
    torch.save(dict(Versioned().state_dict()), tmp_path / "old.pt")  # as a first version left it
    load_own_weights(loaded, tmp_path / "old.pt")
    assert loaded.w.tolist() == [2.0, 1.0, 0.0]


def test_weights_that_are_shared_need_not_be_there_twice(tmp_path):
    save_file({"words.weight": torch.ones(4, 2)}, tmp_path / "w.safetensors")
    module = Tied()
    load_own_weights(module, tmp_path / "w.safetensors")
    assert module.head.weight.tolist() == [[1.0, 1.0]] * 4


@pytest.mark.parametrize("whole", [False, True])
def test_a_checkpoint_of_lightning_fits_the_trainer_and_its_net(whole, tmp_path):
    trainer = Trainer()
    with torch.no_grad():
        trainer.model.fc.bias.fill_(0.5)
    checkpoint = {"state_dict": trainer.state_dict(), "hyper_parameters": lightning.fabric.utilities.data.AttributeDict(
        lr=1), "callbacks": {}, "loops": {}}  # fmt: skip
    torch.save(checkpoint, tmp_path / "last.ckpt")
    target = Trainer() if whole else Net()
    notes = load_own_weights(target, tmp_path / "last.ckpt")
    assert (target.model if whole else target).fc.bias.tolist() == [0.5] * 4
    assert any("loss.weight" in text for text in notes) is not whole


class Bomb:
    def __reduce__(self):
        return (print, ("it ran",))


def test_objects_beside_the_weights_are_not_run(tmp_path, capsys):
    torch.save({"state_dict": other(), "callbacks": Bomb()}, tmp_path / "w.pt")
    load_own_weights(Net(), tmp_path / "w.pt")
    assert isinstance(read_checkpoint(tmp_path / "w.pt")["callbacks"], StandIn)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("where", ["", "model"])
def test_a_whole_module_is_refused_with_two_lines(where, tmp_path):
    torch.save({where: Net()} if where else Net(), tmp_path / "whole.pt")
    inside = rf"\['{where}'\]" if where else ""
    with pytest.raises(
        UsageError, match=rf"(?s)net = torch\.load\('whole\.pt', weights_only=False\){inside}\n.*net\.st"
    ):
        load_own_weights(Net(), tmp_path / "whole.pt")


def test_programs_damage_and_other_models_are_told(tmp_path):
    torch.jit.script(nn.Linear(2, 2)).save(tmp_path / "script.pt")
    with pytest.raises(UsageError, match=f"is a whole program.*Give it as the model: {EDGEKIT} optimize"):
        load_own_weights(Net(), tmp_path / "script.pt")
    (tmp_path / "bad.pt").write_bytes(b"PK damaged")
    with pytest.raises(EdgekitError, match="damaged"):
        load_own_weights(Net(), tmp_path / "bad.pt")
    torch.save(nn.Linear(2, 2).state_dict(), tmp_path / "other.pt")
    with pytest.raises(UsageError, match="weights of another model than Net. missing: fc.bias, fc.weight, mix.weight"):
        load_own_weights(Net(), tmp_path / "other.pt")


def test_a_checkpoint_changes_nothing_of_torch(tmp_path):
    with zipfile.ZipFile(tmp_path / "w.pt", "w") as archive:
        archive.writestr("w/data.pkl", b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n}X\x05\x00\x00\x00helloK\x01sb.")
        archive.writestr("w/version", "3")
    with pytest.raises(EdgekitError, match="holds more than tensors"):
        read_checkpoint(tmp_path / "w.pt")
    assert not hasattr(torch._utils._rebuild_tensor_v2, "hello")


def test_whatever_is_in_a_file_it_is_no_program_or_one(tmp_path):
    torch.save({"w": torch.zeros(3)}, tmp_path / "w.pt")
    raw, draw = (tmp_path / "w.pt").read_bytes(), random.Random(0)
    for _ in range(200):
        spoiled = bytearray(raw)
        spoiled[draw.randrange(len(raw))] = draw.randrange(256)
        (tmp_path / "w.pt").write_bytes(spoiled)
        assert program_in(tmp_path / "w.pt", load=False) in (None, True)
