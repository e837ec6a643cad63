"""From a picture file to the input tensor that a manifest describes. Training uses the same code."""
