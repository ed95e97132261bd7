"""Online i-vectors: what Kaldi's recipes leave of an extractor, read, and computed as ``online2`` does."""
