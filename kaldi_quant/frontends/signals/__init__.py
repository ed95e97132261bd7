"""Audio of front ends: reading it, noise, rooms, mixtures."""
