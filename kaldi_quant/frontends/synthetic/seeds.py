"""Random numbers from a seed, of which each purpose has its own."""

from __future__ import annotations

import hashlib

import numpy as np


def seeded(seed: int, *names: str) -> np.random.Generator:
    """A generator for what the names say: what one speaker is like does not depend on who else there is."""
    digest = hashlib.sha256("/".join(names).encode()).digest()
    return np.random.default_rng([seed, int.from_bytes(digest[:8], "little")])
