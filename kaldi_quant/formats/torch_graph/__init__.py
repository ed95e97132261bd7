"""A torch network's traced graph as data: names of functions, plain values, tensors; nothing in it is executed."""
