"""What is reported on: decode folders, and the files that other verbs leave."""
