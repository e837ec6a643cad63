"""A bundle on disk: its manifest, checksums, golden samples, archive form and signature. It runs nothing."""
