"""Where a model's time goes, operator by operator, and how fast this machine could be."""
