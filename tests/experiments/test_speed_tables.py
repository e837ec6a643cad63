"""The tables of docs/TRAINING.md say what the results hold, and how to measure what is not there."""

import json

from experiments.training.tables import benchmark_table, speedrun_table


def test_what_is_not_measured_says_how(tmp_path):
    assert "experiments.training.benchmark --device cuda" in benchmark_table(tmp_path / "train-benchmark-cuda.json")
    assert "python -m experiments.training.speedrun" in speedrun_table(tmp_path / "x.json")


def test_a_row_for_each_number_of_epochs_and_what_limits_it(tmp_path):
    def runs(seconds):
        return [{"train_s": s, "accuracy": 0.93, "accuracy_with_views": 0.945} for s in seconds]

    found = {
        "device_name": "GPU",
        "aim": 0.94,
        "validation_samples": 10000,
        "versions": {"torch": "2"},
        "first_run": {"train_s": 7.5},
        "settings": [
            {
                "epochs": 14,
                "runs": runs([3.0, 3.2]),
                "train_s": {"mean": 3.1, "spread": 0.14},
                "accuracy": {"mean": 0.93, "spread": 0.0},
                "accuracy_with_views": {"mean": 0.945, "spread": 0.001},
                "reached": {"accuracy": 0, "accuracy_with_views": 2},
            }
        ],
        "limits": {
            "epoch_s": 0.2,
            "tflop_per_epoch": 40.0,
            "matrix_product_tflops": 800.0,
            "kernel_s": {"pooling": 0.05, "convolutions": 0.1},
        },
    }
    path = tmp_path / "s.json"
    path.write_text(json.dumps(found))
    text = speedrun_table(path)
    assert "| 14 | 2 | 3.10 s (3.00 – 3.20) | 93.00 % ± 0.00 | 0 of 2 | 94.50 % ± 0.10 | 2 of 2 |" in text
    assert "kernels run 150 ms: convolutions 100 ms, pooling 50 ms" in text
    assert "40.0 TFLOP at 200 TFLOP/s are 25 % of the 800" in text
