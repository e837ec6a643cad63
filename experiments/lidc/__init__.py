"""Malignancy of real nodules: compares settings by cross-validation, then the best one with the diameter alone."""
