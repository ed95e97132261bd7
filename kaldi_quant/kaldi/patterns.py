"""Names that match a pattern (``NameMatchesPattern`` in ``src/nnet3/nnet-parse.cc``)."""


def matches(name: str, pattern: str) -> bool:
    """Whether a whole name matches: ``*`` stands for any letters, also for none, everything else for itself.

    Example:
        >>> matches("output-0-xent", "output-*-xent")
        True
    """
    first, *others = pattern.split("*")
    if not others:
        return name == pattern
    *middle, last = others
    if not name.startswith(first):
        return False
    position = len(first)
    for part in middle:
        found = name.find(part, position)
        if found < 0:
            return False
        position = found + len(part)
    return len(name) - position >= len(last) and name.endswith(last)
