"""Training by several processes or jobs, and where each of them computes."""
