"""What Kaldi's recipes do to features before a network sees them: normalisation, deltas, splicing, transforms."""
