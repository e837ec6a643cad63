"""Weights and run records: what is written comes back, whole; what does not fit or is damaged is refused."""

from collections import OrderedDict

import pytest
import torch
from torch import nn

from edgekit.edge_runtime.errors import EdgekitError, MissingData, UsageError
from edgekit.train.checkpoint import load_weights, save_weights
from edgekit.train.models.birds_cnn import Net
from edgekit.train.models.digits_cnn import DigitsCNN

resource = pytest.importorskip("resource")  # which Windows lacks


@pytest.mark.parametrize("suffix", [".safetensors", ".pt", ".pth"])
def test_weights_come_back_bit_for_bit(tmp_path, suffix):
    torch.manual_seed(1)
    written, read, path = DigitsCNN(), DigitsCNN(), tmp_path / f"weights{suffix}"
    if suffix == ".safetensors":
        save_weights(written, path)
    else:
        torch.save(written.state_dict(), path)
    load_weights(read, path)
    assert all(torch.equal(value, read.state_dict()[key]) for key, value in written.state_dict().items())


def test_layers_that_share_weights_can_be_written(tmp_path):
    layer = nn.Linear(4, 4)
    save_weights(nn.Sequential(layer, layer), tmp_path / "shared.safetensors")
    twice = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    load_weights(twice, tmp_path / "shared.safetensors")
    assert torch.equal(twice[0].weight, twice[1].weight)


def test_another_models_weights_name_what_differs(tmp_path):
    save_weights(Net(), tmp_path / "birds.safetensors")
    with pytest.raises(UsageError) as caught:
        load_weights(DigitsCNN(), tmp_path / "birds.safetensors")
    assert "another model than DigitsCNN. missing: conv3.bias, conv3.weight, norm1.bias" in str(caught.value)
    assert "wrong shape: conv1.weight is (16, 3, 3, 3), not (16, 1, 3, 3)" in str(caught.value)


def test_weights_with_one_layer_too_many(tmp_path):
    torch.save(OrderedDict(Net().state_dict(), fc3=torch.zeros(2)), tmp_path / "more.pt")
    with pytest.raises(UsageError, match=r"more.pt holds .* another model than Net. not in the model: fc3$"):
        load_weights(Net(), tmp_path / "more.pt")


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
@pytest.mark.parametrize("kept", [0, 100, 30_000])
def test_a_truncated_file_is_refused(tmp_path, suffix, kept):
    path = tmp_path / f"weights{suffix}"
    save_weights(Net(), path) if suffix == ".safetensors" else torch.save(Net().state_dict(), path)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(EdgekitError, match=f"{path} is damaged"):
        load_weights(Net(), path)


def test_one_flipped_bit_in_a_state_dict_is_seen(tmp_path):
    path = tmp_path / "weights.pt"
    torch.save(Net().state_dict(), path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1  # in the largest tensor
    path.write_bytes(content)
    with pytest.raises(EdgekitError, match=f"{path} is damaged"):
        load_weights(Net(), path)


def test_a_pickled_module_is_not_unpickled(tmp_path):
    torch.save(Net(), tmp_path / "whole.pt")
    with pytest.raises(EdgekitError, match="holds more than tensors and numbers"):
        load_weights(Net(), tmp_path / "whole.pt")


def test_a_checkpoint_around_the_state_dict_says_what_it_holds(tmp_path):
    torch.save({"net": Net().state_dict(), "epoch": 3}, tmp_path / "wrapped.pt")
    with pytest.raises(EdgekitError, match="it holds keys net, epoch"):
        load_weights(Net(), tmp_path / "wrapped.pt")


def test_the_books_checkpoints_have_the_state_dict_under_model_state(tmp_path):
    net, loaded = Net(), Net()
    torch.save({"model_state": net.state_dict(), "epoch": 3}, tmp_path / "book.state")
    load_weights(loaded, tmp_path / "book.state")
    assert all(torch.equal(value, loaded.state_dict()[key]) for key, value in net.state_dict().items())


def test_missing_weights_say_where_they_were_looked_for(tmp_path):
    with pytest.raises(MissingData, match=f"no weights at {tmp_path / 'none.pt'}"):
        load_weights(Net(), tmp_path / "none.pt")


def test_a_full_disk_leaves_the_old_weights_and_no_half_written_file(tmp_path):
    path = tmp_path / "weights.safetensors"
    save_weights(Net(), path)
    before = path.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))  # the system refuses to write past 10 kB
    try:
        with pytest.raises(EdgekitError, match="could not write .* unchanged"):
            save_weights(Net(), path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["weights.safetensors"]
