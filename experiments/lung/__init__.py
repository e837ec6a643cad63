"""The nets of the lung project as bundles, compared with their float nets on real data."""
