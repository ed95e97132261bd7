"""Music of a small band, made from seeds."""
