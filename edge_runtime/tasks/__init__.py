"""What a task's outputs mean, in numpy: metrics, agreement, and answers for a person."""
