"""How far chance moves scores, and whether differences are significant."""
