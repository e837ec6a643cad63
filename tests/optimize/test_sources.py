"""What WHAT can be: names, callables, libraries' models; weights of others; and errors told as the user's own."""

import pytest
import torch
from conftest import HELPERS
from own_net import Net
from safetensors.torch import save_file
from torchvision.models import get_model_weights

from edgekit.edge_runtime.errors import EdgekitError, InputError, MissingData, UsageError
from edgekit.optimize.user_model.sources import is_registered, open_source
from edgekit.optimize.user_model.user_code import import_file
from edgekit.optimize.user_model.weights import check_weights, load_own_weights, weights_sha256

FILE = HELPERS / "own_net.py"


@pytest.fixture
def user_file(tmp_path):
    """Writes a user's file under a name of its own, since an imported module stays imported."""

    def write(code):
        path = tmp_path / f"users_{tmp_path.name.replace('-', '_')}.py"
        path.write_text(code)
        return path

    return write


def test_a_registry_name_stays_one():
    assert is_registered("birds_cnn")
    assert not is_registered("own_net:build")


@pytest.mark.parametrize("what", [r"C:\nets\net.py", "C:/nets/net.py"])
def test_the_colon_of_a_drive_names_no_callable(what):
    with pytest.raises(UsageError, match="there is no file .*Give the path of your Python file, a colon and a name"):
        open_source(what)


def test_what_is_nothing_known_lists_what_is_accepted():
    with pytest.raises(
        UsageError, match=r"unknown model 'birds_cn'\. Did you mean birds_cnn.*path/to/file.py:callable"
    ):
        open_source("birds_cn")


@pytest.mark.parametrize("what", ["own_net:build", "own_net:Net", "own_net:net", f"{FILE}:build"])
def test_a_callable_a_class_and_a_module_are_taken(what):
    source = open_source(what)
    assert isinstance(source.module, Net)
    assert source.name == ("Net" if what == "own_net:Net" else "own_net")


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("own_net:nothing", "own_net has no 'nothing'. It has: .*build"),
        ("own_net:text", "gave a str, not an nn.Module"),
        ("own_net:number", "is a int. It is to be an nn.Module or a callable"),
        ("no_such_package.net:build", "no Python module 'no_such_package.net'.*package.module:callable"),
        ("..:build", "no name of a Python module"),
    ],
)
def test_what_is_no_model_is_said(what, message):
    with pytest.raises(UsageError, match=message):
        open_source(what)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(MissingData, match="there is no file .*nets.py"):
        open_source(f"{tmp_path}/nets.py:build")


def test_the_users_own_line_is_shown():
    with pytest.raises(UsageError, match=r"own_net:fails .*TypeError: .*own_net.py, line \d+, in __init__: self.fc"):
        open_source("own_net:fails")


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("import torch\n\nnet = torch.nn.Linear(2, 'x')\n", "failed. TypeError: .*line 3, in <module>: net = torch"),
        ("def build(:\n", r"SyntaxError: .*users_.*, line 1\)"),
        ("import not_there_at_all\n", "ModuleNotFoundError: No module named 'not_there_at_all'.*line 1"),
        ("raise SystemExit(3)\n", "SystemExit: 3"),
    ],
)
def test_errors_while_importing_are_the_users(user_file, code, message):
    with pytest.raises(UsageError, match=message):
        open_source(f"{user_file(code)}:build")


def test_a_file_named_like_a_library_is_refused(tmp_path):
    (tmp_path / "random.py").write_text("")
    with pytest.raises(UsageError, match=r"random\.py has the name of another module"):
        import_file(tmp_path / "random.py")


def test_torchvision_says_its_pictures_and_labels():
    source, preset = open_source("torchvision:squeezenet1_1", random_weights=True), get_model_weights("squeezenet1_1")
    wanted = preset.DEFAULT.transforms()
    taken = source.taken
    assert (taken.height, taken.resize_to) == (wanted.crop_size[0], wanted.resize_size[0])
    assert (taken.mean, taken.std, taken.interpolation) == (tuple(wanted.mean), tuple(wanted.std), "bilinear")
    assert source.labels == tuple(preset.DEFAULT.meta["categories"])


def test_a_librarys_model_is_built_for_as_many_classes_as_there_are_labels():
    source = open_source("torchvision:squeezenet1_1", random_weights=True, classes=5)
    assert source.module.classifier[1].out_channels == 5
    assert source.labels == ()


def test_timm_says_its_data_config():
    timm = pytest.importorskip("timm")
    source = open_source("timm:test_vit.r160_in1k", random_weights=True)
    config = timm.data.resolve_model_data_config(source.module)
    taken = source.taken
    assert (taken.height, taken.interpolation) == (config["input_size"][1], config["interpolation"])
    assert taken.resize_to == int(taken.height / config["crop_pct"])
    assert len(source.labels) == 1000


@pytest.mark.parametrize("library", ["torchvision", "timm"])
def test_an_unknown_name_of_a_library_shows_close_ones(library):
    if library == "timm":
        pytest.importorskip("timm")
    with pytest.raises(UsageError, match=rf"{library} has no model 'resnet5000'. Close to it: .*resnet50"):
        open_source(f"{library}:resnet5000")


def test_offline_without_weights_names_file_place_and_command(tmp_path, monkeypatch):
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # nobody listens on the discard port
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(
        MissingData, match=rf"(?s)squeezenet1_1-\w+\.pth in {tmp_path}/hub/checkpoints.*curl .*--weights"
    ):
        open_source("torchvision:squeezenet1_1")


def test_timm_offline_without_weights_names_repository_place_and_command(monkeypatch):
    pytest.importorskip("timm")
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    with pytest.raises(
        MissingData, match=r"(?s)the weights of timm/test_byobnet\.r160_in1k in .*python -c .*timm.*--weights"
    ):
        open_source("timm:test_byobnet.r160_in1k")


def test_weights_and_random_weights_contradict(tmp_path):
    with pytest.raises(UsageError, match="contradict"):
        open_source("own_net:build", weights=tmp_path / "w.pt", random_weights=True)


@pytest.mark.parametrize("wrapping", ["plain", "module.", "_orig_mod.", "state_dict", "safetensors"])
def test_weights_are_loaded_whatever_the_trainer_wrapped_them_in(tmp_path, wrapping):
    state = {key: value + 1 for key, value in Net().state_dict().items()}
    path = tmp_path / "weights.th"
    if wrapping == "safetensors":
        path = tmp_path / "weights.safetensors"
        save_file(state, path)
    elif wrapping == "state_dict":
        torch.save({"epoch": 3, "state_dict": {f"module.{k}": v for k, v in state.items()}}, path)
    else:
        torch.save({(wrapping if wrapping != "plain" else "") + k: v for k, v in state.items()}, path)
    net = Net()
    notes = load_own_weights(net, path)
    assert net.fc.bias.tolist() == [1.0] * 4
    assert any("off every key" in note for note in notes) == (wrapping in ("module.", "_orig_mod.", "state_dict"))


def test_weights_of_another_model_and_what_is_no_state_dict_are_refused(tmp_path):
    torch.save(Net(classes=3).state_dict(), tmp_path / "three.pth")
    torch.save({"epoch": 3}, tmp_path / "epoch.pth")
    with pytest.raises(UsageError, match=r"wrong shape: fc.weight is \(3, 4\), not \(4, 4\)"):
        load_own_weights(Net(), tmp_path / "three.pth")
    with pytest.raises(EdgekitError, match="holds no state dict of tensors, but keys epoch"):
        load_own_weights(Net(), tmp_path / "epoch.pth")
    with pytest.raises(MissingData, match="no weights at"):
        load_own_weights(Net(), tmp_path / "no.pth")


def test_a_pickle_that_is_more_than_tensors_is_not_run(tmp_path):
    torch.save(Net(), tmp_path / "whole.pth")
    with pytest.raises(
        UsageError, match=r"(?s)pickled own_net\.Net.*net = torch\.load\('whole\.pth', .*net\.state_dict"
    ):
        load_own_weights(Net(), tmp_path / "whole.pth")


def test_nan_weights_are_named():
    with pytest.raises(InputError, match=r"parameter 'fc.weight' holds 1 NaN or infinite of 16 values"):
        check_weights(open_source("own_net:nan_weights").module)


def test_the_hash_is_of_names_and_values():
    first, second = Net(), Net()
    assert weights_sha256(first) == weights_sha256(second)
    with torch.no_grad():
        second.fc.bias[0] = 1e-6
    assert weights_sha256(first) != weights_sha256(second)
