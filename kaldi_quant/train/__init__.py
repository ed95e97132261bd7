"""Training of acoustic models: the chain objective, examples as tensors."""
