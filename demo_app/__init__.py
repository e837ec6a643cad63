"""The demo: two bundles of one model, side by side in a browser. Knows bundles, not how they were made."""
