"""Exact rewrites of a captured graph that make it deployable; each is checked to have changed nothing."""
