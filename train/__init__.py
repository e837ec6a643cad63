"""Reproduces the book's models: data, models, one training loop, checkpoints. Knows nothing about exporting them."""
