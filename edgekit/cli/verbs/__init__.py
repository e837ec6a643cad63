"""The verbs: their options and help. Importing this registers them, in the order in which help lists them."""

from . import training, optimizing, scans, bundles, measuring  # isort: skip

__all__ = ["bundles", "measuring", "optimizing", "scans", "training"]
