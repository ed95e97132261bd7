"""Networks in front of a recogniser: their data, training and scores."""
