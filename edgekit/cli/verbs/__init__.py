"""The verbs, one file a group, and the command that has them all."""

from ..options import app

from . import training, optimizing, scans, bundles, measuring  # isort: skip  # the order in which help lists the verbs

__all__ = ["app", "bundles", "measuring", "optimizing", "scans", "training"]
