"""What enhanced speech is worth beside speech without noise: scores, by noise and ratio, and files that hold them."""
