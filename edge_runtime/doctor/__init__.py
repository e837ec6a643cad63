"""What of edgekit works on this machine, tried with tiny int8 models."""
