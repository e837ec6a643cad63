"""The words of the reproduction report that no measurement gives: titles, how to read it, what we do otherwise."""

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
and what comes out when edgekit trains the same models. This page is written by `edgekit reproduce` from
`results/reproduction-*.json`, which it makes from finished training runs; no number here was typed by hand.

```sh
edgekit reproduce --chapters 1-8
```

It trains what is not trained yet, goes on where it was interrupted, and `--report-only` makes this page again from
what is there.

How to read the tables:

- **ours** is the mean over runs that differ only in their seed, ± their sample standard deviation. Every figure is
  that of the last epoch: no epoch was picked by looking at the validation data.
- **interval** runs from the lowest to the highest end of the runs' 95 % intervals, which say what a validation set
  of that size can tell apart.
- **time for one** is the median over a model's runs. Where several ran at once on a device, as those on a GPU did,
  one alone is faster; how fast, is in [TRAINING.md](TRAINING.md).
- **target there** is the book's figure on the training data, where it gives one.
- **target** is the book's figure, or, where the book has none, the one named below the table. It was measured once,
  with one seed.
"""

DIFFERENCES = """\
## What we do otherwise, on purpose

The published notebooks have properties that change their figures. Ours are measured the way the net would be used,
and so differ here and there:

1. **Evaluation mode.** The book's validation function never calls `eval()`. Dropout stays on while it measures, and
   batch norm normalizes each batch by its own statistics (and goes on updating the stored ones, from validation
   pictures too). Our figures are taken in evaluation mode, on weights that nothing changes any more. This matters
   for `birds_cnn_dropout`, `birds_cnn_batchnorm` and the residual nets of 100 blocks.
2. **Shuffling.** From the accuracy measurement of the baseline on, the book's training loader is rebuilt with
   shuffling off, so that every later design of chapter 8 saw the pictures in one fixed order; its two baselines
   were shuffled. All our runs draw a new order every epoch.
3. **One block or a hundred.** The published `NetResDeep` repeats one block object, so its 100 blocks share their
   weights: 75,810 parameters. The text describes independent blocks: 994,530. Both are here, under two names.
4. **The L2 penalty** is added to the loss as the book does it, biases included, so its losses compare with the
   book's. SGD's `weight_decay` of twice the factor would take the same steps.
5. **Seeds.** The book trained each design once. It says itself that differences between designs are within what
   another seed would change; the spread in the tables says how much that is.
6. **Text and notebook disagree** in chapter 7 (0.794 and 0.802 in print, 0.821 and 0.801 in the notebook, 0.818 for
   both in an older one). We compare with the printed ones.
7. **Chapters 13 and 14.** The book's augmentation writes its offset where it is not read, draws one map for a whole
   batch, and in chapter 14 neither scales nor adds noise; ours draws one map for each sample with all of them
   (`augment` "book" repeats the book's). Its masks end columns by the radius of the rows, ours by their own. Its
   U-Net is validated on whole slices, ours on crops of 96 x 96 around the nodules, which hold less that is no
   nodule, so precision does not compare. Frozen batch norm stays frozen while the head is fine-tuned.
8. **Versions.** The book used PyTorch 1.4; random numbers, and so initial weights, are others today. Digits are
   only expected to agree where nothing is random: in chapter 5.
"""
