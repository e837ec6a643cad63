"""What only a CUDA device can show: graphs and compiled models train what eager steps train. Skipped elsewhere."""

from dataclasses import replace

import pytest
import torch
from small_digits import CONFIG, MODEL, plain_net

from edgekit.train.loop.fit import fit

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here")
PLAIN = replace(MODEL, build=plain_net)


# 21 whole batches, a dozen of them in one graph, and a smaller one.
SHORT = replace(CONFIG, batch_size=15, cuda_graph=False)


def losses(folder, **settings):
    config = replace(SHORT, **settings)
    return [epoch.loss for epoch in fit(PLAIN, folder, config=config, device="cuda").record.curve]


@pytest.mark.parametrize("optimizer", [{}, {"optimizer": "sgd", "momentum": 0.9, "schedule": "one_cycle"}])
@pytest.mark.parametrize(
    "steps",
    [{"cuda_graph": True}, {"compiled": True}, {"compiled": True, "cuda_graph": True}, {"channels_last": True}],
)
def test_the_losses_are_those_of_eager_steps(tmp_path, optimizer, steps):
    eager = losses(tmp_path / "eager", **optimizer)
    assert losses(tmp_path / "other", **optimizer, **steps) == pytest.approx(eager, rel=1e-3)


def test_bf16_steps_can_be_recorded(tmp_path):
    eager, recorded = (losses(tmp_path / str(g), precision="bf16-mixed", cuda_graph=g) for g in (False, True))
    assert recorded == pytest.approx(eager, rel=0.02)


def test_a_graphed_run_can_be_resumed(tmp_path):
    settings = {"cuda_graph": True, "schedule": "cosine", "flip": "alternating", "translate": 1, "lookahead": 3}
    whole = losses(tmp_path / "whole", **settings)

    def stop(record):
        if record.epoch == 2:
            raise KeyboardInterrupt

    config = replace(SHORT, **settings)
    with pytest.raises(Exception, match="epoch 2 of 3 is kept"):
        fit(PLAIN, tmp_path / "part", config=config, device="cuda", on_epoch=stop, keep_every_s=0)
    resumed = fit(PLAIN, tmp_path / "part", config=config, device="cuda", go_on=True)
    assert [epoch.loss for epoch in resumed.record.curve] == pytest.approx(whole, rel=1e-3)
