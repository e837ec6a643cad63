"""Every way of calibration, measured on one model."""
