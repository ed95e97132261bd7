"""Speech of synthetic voices, made by programs, and files of it."""
