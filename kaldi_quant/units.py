"""What numbers are counted in: names for types in signatures."""

Bits = int
Bytes = int
Frames = int
Nats = float
Seconds = float
