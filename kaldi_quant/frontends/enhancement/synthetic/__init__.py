"""Makes the clean speech of the embedded set from synthetic voices."""
