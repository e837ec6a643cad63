"""The book's figures beside ours: trainings seed by seed, their results, and the report made from these."""
