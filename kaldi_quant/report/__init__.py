"""What a quantization costs and gains: word error rates with their significance, sizes, speed; tables, plots, pages."""
