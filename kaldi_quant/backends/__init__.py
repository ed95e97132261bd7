"""Integer execution: kernels, graphs and engines, and whether they give the integers of the reference."""
