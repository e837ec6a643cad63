"""Malignancy of real nodules: settings by cross-validation, then measured against the diameter alone."""
