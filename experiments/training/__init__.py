"""The speed of the training loop, compared with a plain loop; and cifar10_fast against the clock."""
