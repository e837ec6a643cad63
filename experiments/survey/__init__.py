"""Every model × exporter × recipe, made and proven: rows in processes of their own, times, tables."""
