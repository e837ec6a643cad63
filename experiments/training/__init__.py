"""How fast the training loop is, beside a plain loop; and cifar10_fast against the clock."""
