"""Recognisers: from audio to words, whole or while it comes in."""
