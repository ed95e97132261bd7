"""nnet3 networks that PyTorch quantizes, and that its integer kernels run."""
