"""Real models of Hugging Face's library, tiny and with random weights, from Python and by command."""

import shlex
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from edgekit.cli import main
from edgekit.edge_runtime import Bundle, load_engine
from edgekit.optimize import Request, optimize

transformers = pytest.importorskip("transformers", reason="models of others are tested where transformers is installed")

MOBILEVIT = """
import torch
from transformers import MobileViTConfig, MobileViTForImageClassification


def build():
    torch.manual_seed(0)
    config = MobileViTConfig(
        image_size=64, patch_size=2, hidden_sizes=[24, 32, 40], neck_hidden_sizes=[8, 8, 16, 24, 32, 40, 64],
        num_attention_heads=2, mlp_ratio=1.0, id2label={0: "cat", 1: "dog"},
    )
    net = MobileViTForImageClassification(config).eval()
    for part in net.modules():  # so that the answers of random weights vary
        if isinstance(part, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(part.weight)
    shades = torch.linspace(0.2, 1, 8).reshape(8, 1, 1, 1)
    with torch.no_grad():
        logits = net(torch.rand(8, 3, 64, 64) * shades).logits
        net.classifier.weight.div_(logits.std(0)[:, None])
        net.classifier.bias.copy_(-logits.mean(0) / logits.std(0))
    return net
"""


def bert():
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=60, hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=48,
        max_position_embeddings=16, num_labels=3,
    )  # fmt: skip
    net = transformers.BertForSequenceClassification(config).eval()
    with torch.no_grad():
        net.classifier.weight.mul_(20)
    return net


def tokens(count, seed):
    """Arrays in another order than that of `forward`."""
    draw = np.random.default_rng(seed)
    mask = (np.arange(10) < draw.integers(4, 11, (count, 1))).astype(np.int64)
    return {"attention_mask": mask, "input_ids": draw.integers(1, 60, (count, 10)) * mask}


@pytest.mark.slow
def test_a_classifier_of_texts_goes_from_python(tmp_path):
    net, held_out = bert(), tokens(40, 1)
    with torch.no_grad():
        truth = net(**{key: torch.from_numpy(rows) for key, rows in held_out.items()}).logits.argmax(1)
    result = optimize(Request(
        model=net, calibration=tokens(8, 0), validation=held_out, targets=truth, exporters=["onnx"], recipes=["fp32"],
        out=tmp_path / "bundles", runs=tmp_path / "runs", quick=True,
    ))  # fmt: skip
    (path,) = result.bundles.values()
    fresh = tokens(4, 2)
    with Bundle.open(path) as bundle, load_engine(bundle) as engine, torch.no_grad():
        assert [spec.name for spec in bundle.manifest.inputs] == ["input_ids", "attention_mask"]
        assert (bundle.manifest.status, bundle.manifest.task) == ("verified", "classification")
        assert bundle.manifest.metrics[0].value == 1.0
        found = [engine.run({key: rows[i : i + 1] for key, rows in fresh.items()})["probabilities"] for i in range(4)]
        wanted = net(**{key: torch.from_numpy(rows) for key, rows in fresh.items()}).logits.softmax(1)
    assert np.allclose(np.concatenate(found), wanted, atol=1e-4)


@pytest.mark.slow
def test_a_mobilevit_goes_by_command(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_vit.py").write_text(MOBILEVIT)
    draw = np.random.default_rng(0)
    for i in range(12):
        folder = tmp_path / "pictures" / ("cat" if i % 2 else "dog")
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(draw.integers(0, 40 + 18 * i, (64, 64, 3), np.uint8)).save(folder / f"{i}.png")
    command = (
        "edgekit optimize my_vit.py:build --sample-shape 1,3,64,64 --calibration pictures --no-normalise "
        "--exporter onnx --recipe fp32 --quick"
    )
    monkeypatch.setattr(sys, "argv", shlex.split(command))
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0, capsys.readouterr()
    manifest = Bundle.open(tmp_path / "bundles" / "my_vit-onnx-fp32").manifest
    assert (manifest.task, manifest.labels, manifest.status) == ("classification", ("cat", "dog"), "verified")
    assert manifest.origin.golden.source == "12 pictures in pictures"
