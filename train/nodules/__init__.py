"""Chapters 9 to 14: chest CTs in, nodules out; their baseline, their lessons, and how well they are found."""
