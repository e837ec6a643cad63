"""320 real digits, and a net without batch norm for them: what the tests of the loop train in a second."""

from dataclasses import replace

from torch import nn

from edgekit.edge_runtime.errors import Interrupted
from edgekit.train.data.digits import digits
from edgekit.train.dataset import Dataset, Split
from edgekit.train.loop.fit import fit
from edgekit.train.registry import book_model


def small_digits() -> Dataset:
    whole = digits()
    first = {
        name: Split(inputs=split.inputs[:count], targets=split.targets[:count])
        for name, split, count in (("train", whole.train, 320), ("validation", whole.validation, 100))
    }
    return replace(whole, **first)


MODEL = replace(book_model("digits_cnn"), data=small_digits)
CONFIG = replace(MODEL.fit, epochs=3, batch_size=48)  # the last batch of an epoch is a smaller one


def plain_net() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.Tanh(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(128, 10))


def train(folder, *, model=MODEL, config=CONFIG, **options):
    return fit(model, folder, config=config, device="cpu", **options)


def train_until(epoch, folder, **options):
    """Trains, and is interrupted right after `epoch` is safe."""

    def on_epoch(record):
        if record.epoch == epoch:
            raise KeyboardInterrupt

    try:
        train(folder, on_epoch=on_epoch, keep_every_s=0, **options)
    except Interrupted:
        return
    raise AssertionError(f"the run ended before epoch {epoch}")
