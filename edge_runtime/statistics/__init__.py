"""Statistics of paired answers: bounds of what one model loses against another. They know no model and no file."""
