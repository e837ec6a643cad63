"""The loss of a dense detector: which places answer for which thing, and how wrong scores and boxes are there.

A place answers for a thing where it lies in the middle half of its box, across and down; of several such things for the
smallest. There the score is to be as high as the box is right (its intersection over union with the truth), elsewhere
0, so that the surest boxes are the best ones. Sources: FCOS, arXiv 1904.01355 (places inside boxes); generalized focal
loss, arXiv 2006.04388 (scores as quality); GIoU, arXiv 1902.09630 (boxes that do not meet). Shapes are fixed, so that a
step can be recorded.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

MIDDLE = 0.5  # of a box, across and down
BOX_WEIGHT = 2.0
_FOCUS = 2.0  # how much less a score counts that is nearly right


def detection_loss(outputs: tuple[Tensor, Tensor, Tensor], targets: Tensor) -> Tensor:
    """The mean loss of a batch, over the places that answer for something.

    Args:
        outputs: logits (N, A, C), boxes (N, A, 4) and the places they are at, (A, 2): x and y in pixels.
        targets: (N, M, 6) as in `Split.targets`; crowds are not learned from.
    """
    logits, boxes, places = outputs
    labels, truth = targets[..., 0], targets[..., 2:]
    there = (labels >= 0) & (targets[..., 1] == 0)  # (N, M)
    middle, sides = (truth[..., :2] + truth[..., 2:]) / 2, truth[..., 2:] - truth[..., :2]
    away = (places[None, :, None] - middle[:, None]).abs()  # (N, A, M, 2)
    inside = (away <= MIDDLE / 2 * sides[:, None]).all(-1) & there[:, None]  # (N, A, M)
    area = torch.where(inside, sides.prod(-1)[:, None], torch.inf)
    smallest, chosen = area.min(-1)  # (N, A)
    answers = smallest < torch.inf
    wanted = truth.gather(1, chosen[..., None].expand(-1, -1, 4))  # (N, A, 4)
    overlap, generalized = _overlaps(boxes.float(), wanted)
    quality = torch.where(answers, overlap.detach(), 0.0)
    label = labels.gather(1, chosen).clamp(min=0).long()
    target = quality[..., None] * F.one_hot(label, logits.shape[-1])  # (N, A, C)
    wrong = F.binary_cross_entropy_with_logits(logits.float(), target, reduction="none")
    scores = (wrong * (target - logits.float().sigmoid()).abs() ** _FOCUS).sum()
    # In units of the box, so that a large one is not worth more; it pulls where boxes do not meet yet.
    side = (wanted[..., 2:] - wanted[..., :2]).clamp(min=1.0)
    moved = ((boxes.float() - wanted).abs() / torch.cat([side, side], -1)).mean(-1)
    placed = torch.where(answers, 1 - generalized + moved, 0.0).sum()
    return (scores + BOX_WEIGHT * placed) / answers.sum().clamp(min=1)


def _overlaps(boxes: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
    """Intersection over union of pairs of boxes (..., 4), and generalized: less the share of their hull beside them."""
    both = (torch.minimum(boxes[..., 2:], wanted[..., 2:]) - torch.maximum(boxes[..., :2], wanted[..., :2])).clamp(
        min=0
    )
    areas = [(one[..., 2:] - one[..., :2]).clamp(min=0).prod(-1) for one in (boxes, wanted)]
    meet = both.prod(-1)
    either = areas[0] + areas[1] - meet
    hull = (torch.maximum(boxes[..., 2:], wanted[..., 2:]) - torch.minimum(boxes[..., :2], wanted[..., :2])).prod(-1)
    overlap = meet / either.clamp(min=1e-6)
    return overlap, overlap - (hull - either) / hull.abs().clamp(min=1e-6)
