"""Pages for a browser: their parts, their plots, their looks."""
