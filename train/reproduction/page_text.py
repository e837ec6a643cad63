"""The fixed text of the reproduction report: titles, how to read it, and what we do differently."""

from __future__ import annotations

TITLES = {
    0: "Beyond the book",
    1: "Chapter 1: features by hand against features learned",
    2: "Chapter 2: a digit classifier",
    4: "Chapter 4: real data as tensors",
    5: "Chapter 5: the mechanics of learning",
    6: "Chapter 6: a first neural network",
    7: "Chapter 7: birds and airplanes, fully connected",
    8: "Chapter 8: birds and airplanes, convolutional",
    13: "Chapter 13: which pixels belong to a nodule",
    14: "Chapter 14: nodules, and which of them are malignant",
}

OPENING = """\
# The book's figures beside ours

What *Deep Learning with PyTorch* (Stevens, Antiga, Viehmann; Manning 2020) reports in its chapters 1 to 8, 13 and 14,
and what edgekit gets when it trains the same models. This page is written by `edgekit reproduce` from
`results/reproduction-*.json`, which it makes from finished training runs; no number here was typed by hand.

```sh
edgekit reproduce --chapters 1-8 --publish
```

It trains what is not trained yet and continues where it was interrupted. `--report-only` writes this page again
from the finished runs.

How to read the tables:

- **ours** is the mean over runs that differ only in their seed, ± their sample standard deviation. Every figure is
  that of the last epoch: no epoch was picked by looking at the validation data.
- **interval** goes from the lowest to the highest end of the runs' 95 % intervals, which say how small a difference a
  validation set of this size can show.
- **time for one** is the median over a model's runs. Where several ran at once on a device, as on the GPU, one alone
  is faster; [TRAINING.md](TRAINING.md) says how fast.
- **target** is the book's figure; where the book has none, the notes below the table say where it comes from. It was
  measured once, with one seed.
- **target there** is the book's figure on the training data, where it gives one.
"""

DIFFERENCES = """\
## What we do differently, on purpose

Some properties of the published notebooks change their figures. Ours are measured the way the net would be used, and
so differ in places:

1. **Evaluation mode.** The book's validation function never calls `eval()`. Dropout stays on while it measures, and
   batch norm normalizes each batch by its own statistics (and keeps updating the stored ones, from validation
   pictures too). Our figures are measured in evaluation mode, on weights that no longer change. This matters for
   `birds_cnn_dropout`, `birds_cnn_batchnorm` and the residual nets of 100 blocks.
2. **Shuffling.** After it has measured the baseline's accuracy, the book's notebook rebuilds the training loader
   without shuffling, so that every later design of chapter 8 saw the pictures in one fixed order; its two baselines
   were shuffled. All our runs draw a new order every epoch.
3. **One block or a hundred.** The published `NetResDeep` repeats one block object, so its 100 blocks share their
   weights: 75,810 parameters. The text describes independent blocks: 994,530. Both are here, under two names.
4. **The L2 penalty** is added to the loss as in the book, biases included, so that its losses compare with the
   book's. SGD's `weight_decay` of twice the factor would take the same steps.
5. **Seeds.** The book trained each design once. It notes that another seed may change the result as much as another
   design; the spread in the tables shows by how much.
6. **Text and notebook disagree** in chapter 7 (0.794 and 0.802 in print, 0.821 and 0.801 in the notebook, 0.818 for
   both in an older one). We compare with the printed figures.
7. **Chapters 13 and 14.** The book's augmentation writes its offset where nothing reads it, draws one map for a whole
   batch, and in chapter 14 neither scales nor adds noise. Ours draws a map for each sample and does all of that
   (`augment` "book" repeats the book's). Its masks end columns at the radius of the rows, ours at their own. Its
   U-Net is validated on whole slices, ours on crops of 96 x 96 around the nodules, where less is no nodule, so
   precisions do not compare. Frozen batch norm stays frozen while the head is fine-tuned.
8. **Versions.** The book used PyTorch 1.4. Random numbers, and so initial weights, are different today. Digits can
   agree only where nothing is random: in chapter 5.
"""
