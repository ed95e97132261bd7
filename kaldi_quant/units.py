"""What numbers are counted in: names for types in signatures."""

Bits = int
Bytes = int
Frames = int
Hertz = int
Nats = float
Seconds = float

#: The width that stands for a layer in float, as in the mean width of a weight.
FLOAT_BITS: Bits = 32
