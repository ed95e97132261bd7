"""What separated signals are worth beside their sources: scores, cells and files that hold them."""
