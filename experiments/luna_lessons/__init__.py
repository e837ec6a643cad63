"""What chapters 11 to 14 teach, shown on synthetic scans."""
