"""Shows on synthetic scans what chapters 11 to 14 teach."""
