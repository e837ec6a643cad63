"""Malignant or not? The nodule classifier of chapter 14, fine-tuned: its last block and head, or only its head."""

# No `from __future__ import annotations` here: torch.jit.script cannot read a module's attribute types from strings.

from dataclasses import replace
from functools import partial

from torch import Tensor, nn

from edgekit.train.book_model import BookModel, Target
from edgekit.train.checkpoint import read_tensors
from edgekit.train.data import luna_samples, luna_sets
from edgekit.train.data.book import book_file
from edgekit.train.extra_metrics import RankingMetrics
from edgekit.train.models import luna_classifier
from edgekit.train.models.luna_classifier import LunaClassifier

PUBLISHED = "part2/models/cls_2020-02-06_14.16.55_final-nodule-nonnodule.best.state"
LABELS = ("benign", "malignant")


class FineTuned(LunaClassifier):
    """A `LunaClassifier` of which only the last `depth` parts learn: head, fourth block, third block, …

    The frozen batch norm keeps its statistics; in the book's code it stays in training mode, and they drift. The head
    begins at 0, unlike the book's: with a fan-out of 2 its weights would have a deviation of 1, which over 1,152
    features gives random answers so large that it takes many thousands of crops to unlearn them.
    """

    def __init__(self, depth: int) -> None:
        super().__init__()
        parts = list(self.children())
        for part in parts[:-depth]:
            part.requires_grad_(False)
        nn.init.zeros_(self.head_linear.weight)
        nn.init.zeros_(self.head_linear.bias)

    def train(self, mode: bool = True) -> "FineTuned":
        super().train(mode)
        if not self.tail_batchnorm.weight.requires_grad:
            self.tail_batchnorm.eval()
        return self


def start_from_nodules(module: nn.Module, inputs: Tensor) -> None:
    """Fills all but the head from the book's published nodule classifier; the inputs are not used.

    Raises:
        MissingData: the checkpoint is missing; the message has the command that downloads it.
    """
    state = {key: value for key, value in read_tensors(book_file(PUBLISHED)).items() if "head_linear" not in key}
    absent, extra = module.load_state_dict(state, strict=False)
    if extra or sorted(absent) != ["head_linear.bias", "head_linear.weight"]:
        raise ValueError(f"{PUBLISHED} does not fit {type(module).__name__}: {[*absent, *extra]}")


def _model(name: str, depth: int, epochs: int, value: float, learns: str) -> BookModel:
    return replace(
        luna_classifier.MODEL,
        name=name,
        summary=f"malignant or not, a crop around a nodule: the published nodule classifier, {learns} fine-tuned",
        build=partial(FineTuned, depth),
        data=luna_sets.malignancy,
        samples=luna_samples.malignancy,
        labels=LABELS,
        fit=replace(
            luna_classifier.MODEL.fit,
            epochs=epochs,
            learning_rate=3e-3,
            epoch_samples=100_000,
            balance="malignancy",
            best_by="auc",
        ),
        extra_metrics=RankingMetrics,
        prepare=start_from_nodules,
        target=Target(
            metric="auc",
            value=value,
            source="Deep Learning with PyTorch, chapter 14: on 154 nodules, where the diameter alone has 0.901",
        ),
    )


MODEL = _model("luna_malignancy", 2, 10, 0.911, "fourth block and head")
HEAD = _model("luna_malignancy_head", 1, 40, 0.888, "its head")
