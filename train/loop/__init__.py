"""The one training loop, on Lightning Fabric: batches, steps, epochs, resume, TensorBoard."""
