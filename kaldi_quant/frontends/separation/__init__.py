"""Source separation: each speaker of a mixture, each instrument of a band, from networks in float and in integers."""
