"""The nets of the lung project as bundles, judged on real data beside their float nets."""
