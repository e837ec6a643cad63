"""The verbs: their options and help. Importing this registers them, in the order in which help lists them."""

from ..options import app

from . import training, optimizing, scans, bundles, devices, measuring  # isort: skip

__all__ = ["app", "bundles", "devices", "measuring", "optimizing", "scans", "training"]
