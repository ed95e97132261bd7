"""Training of acoustic models: by the chain objective, by distillation, quantization-aware."""
