"""Rewrites measured: each model before and after."""
