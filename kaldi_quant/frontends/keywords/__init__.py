"""Keyword recognition: networks, data, training, scores."""
