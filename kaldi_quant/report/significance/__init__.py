"""How far chance moves word error rates, and whether differences are significant."""
