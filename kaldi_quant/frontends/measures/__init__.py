"""What a network costs: multiply-accumulates, time, memory."""
