"""Measures every way to calibrate on one model."""
