"""Speech enhancement: networks, data, training, quantization, scores."""
