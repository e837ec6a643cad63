"""Chapters 9 to 14: finds nodules in chest CTs, reports and compares them, and counts how many are found."""
