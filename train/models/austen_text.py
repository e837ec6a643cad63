"""Which character comes next? A small net for chapter 4's text, with the embedding of section 4.5.4. Our own design.

After Y. Bengio et al., "A Neural Probabilistic Language Model", JMLR 3 (2003), with characters for words.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from edgekit.edge_runtime.bundle.manifest import TensorSpec
from edgekit.train.book_model import BookModel, FitConfig, Target
from edgekit.train.data import austen


class AustenText(nn.Module):
    """(N, 16) int64 character codes below 128 to (N, 128) float32, natural logarithms of the next one's probabilities.

    Looking a code up in `embedding` equals multiplying its one-hot vector by the table, without the zeros.
    """

    def __init__(self, width: int = 16, hidden: int = 256) -> None:
        super().__init__()
        self.embedding = nn.Embedding(austen.ALPHABET, width)
        self.fc1 = nn.Linear(austen.CONTEXT * width, hidden)
        self.fc2 = nn.Linear(hidden, austen.ALPHABET)

    def forward(self, codes: Tensor) -> Tensor:
        x = self.embedding(codes).flatten(1)  # (N, 16 · width)
        return F.log_softmax(self.fc2(F.relu(self.fc1(x))), dim=-1)


MODEL = BookModel(
    name="austen_text",
    chapter=4,
    summary="the next character of Pride and Prejudice, from the 16 before it",
    task="next_character",
    build=AustenText,
    data=austen.characters,
    normalization=None,
    preprocessing=None,
    takes=TensorSpec(name="codes", dtype="int64", shape=(1, austen.CONTEXT)),
    labels=austen.LABELS,
    fit=FitConfig(epochs=4, batch_size=1024, learning_rate=4e-3, optimizer="adam", cpu_threads=1),
    target=Target(
        metric="bits_per_character",
        value=3.49,
        source="counts of character pairs, on the same held-out text; chapter 4 reports no figure",
    ),
)
