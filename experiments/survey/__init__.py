"""Every model × exporter × recipe, made and verified: a process for each row, times, tables."""
