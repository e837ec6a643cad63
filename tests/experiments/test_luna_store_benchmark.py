"""The benchmark of the store: every way gives the same crops, and the rows say what was measured."""

import numpy as np

from experiments.luna_store import BOOK, STORE, WAYS, measure


def test_every_way_is_measured_on_the_same_crops():
    crops = np.random.default_rng(1).normal(-850, 40, (30, 32, 48, 48)).astype(np.int16)
    rows = {row["way"]: row for row in measure(crops, repeats=2)}
    assert list(rows) == list(WAYS)
    assert rows[STORE]["bytes"] == crops.nbytes
    assert (rows[BOOK]["size_over_the_books"], len(rows[BOOK]["epoch_s"])) == (1, 2)
    assert rows[STORE]["times_as_fast_as_the_book"] > 2
