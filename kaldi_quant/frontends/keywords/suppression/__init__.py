"""Noise suppression before recognition: noisy speech, enhancement, quantization, scores."""
