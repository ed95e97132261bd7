"""Makes a set of keywords from synthetic voices, noise and rooms."""
