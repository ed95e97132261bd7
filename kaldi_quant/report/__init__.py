"""What a quantization costs and gains: scores with their significance, sizes, speed; tables, plots, pages."""
