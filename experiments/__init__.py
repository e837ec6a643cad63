"""Programs that fill results/ and write the tables of docs/. Not part of the product, and not in the wheel."""
