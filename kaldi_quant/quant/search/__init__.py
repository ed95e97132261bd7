"""Which width each layer gets: measured, predicted, and allocated under a budget."""
