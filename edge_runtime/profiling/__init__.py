"""Where a model's time goes, operator by operator, and what the machine could do at best."""
