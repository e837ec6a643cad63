"""One file for each model family: its modules, and the `BookModel` records that connect them to data and settings."""
