"""nnet3 networks in torch: built from the config graph in the file, whatever its topology."""
