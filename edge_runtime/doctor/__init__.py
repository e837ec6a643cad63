"""Which engines work on this machine, tried with tiny int8 models."""
