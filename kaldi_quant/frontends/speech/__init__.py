"""Clean speech that a table lists, and the noises and rooms that it is heard in, for all tasks that mix speech."""
