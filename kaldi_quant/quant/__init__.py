"""What quantization is: specs, grids, observers, post-training methods, integer execution."""
