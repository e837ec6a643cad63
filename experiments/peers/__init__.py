"""Our bundles beside the raw libraries, on this machine: the same models, weights and pixels, interleaved."""
