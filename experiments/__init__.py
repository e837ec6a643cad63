"""Programs that fill results/ and write the tables of docs/. They are not part of the product, and not in the wheel."""
