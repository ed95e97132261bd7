"""The networks, as their authors published them."""
