"""The kinds of results that are compared: words of decode folders, and scores of any other task."""
