"""Float training of networks that separate sources: settings, training, checkpoints."""
