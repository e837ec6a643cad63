"""What inputs and outputs of a task mean, in numpy: metrics, agreement, and answers for a person."""
