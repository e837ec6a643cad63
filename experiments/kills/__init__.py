"""Kills commands at random moments, and looks at what is left."""
