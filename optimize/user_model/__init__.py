"""A user's own model and samples: found, loaded, matched, and told in the user's words where they fail."""
