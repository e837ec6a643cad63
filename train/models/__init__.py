"""One file for each model family: its modules, and the `BookModel` records that tie them to data and settings."""
