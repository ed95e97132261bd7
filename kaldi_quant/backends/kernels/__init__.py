"""Integer kernels that numba compiles for the processor they run on: products, grids, recurrent cells."""
