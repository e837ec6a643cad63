"""Measures rewrites: each model before and after."""
