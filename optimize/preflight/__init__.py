"""`edgekit doctor MODEL`: before any training, what each engine does with every operator of a model."""
