"""What the training of all front ends has in common: parts of settings, files of networks."""
