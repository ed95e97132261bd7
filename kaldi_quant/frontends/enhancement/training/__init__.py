"""Float training of networks for speech enhancement: losses, minibatches, settings, checkpoints."""
