"""How good a network's output is: what is measured, in which direction it is better, and scores with their units."""
