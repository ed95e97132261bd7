"""The networks, and the names that they go by."""
