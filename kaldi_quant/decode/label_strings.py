"""Sequences of transition-ids that share their beginnings, for the determinization of lattices.

Source: ``LatticeStringRepository`` in ``src/fstext/determinize-lattice-inl.h`` of Kaldi.
"""

NO_STRING = 0


class LabelStrings:
    """Sequences of transition-ids as nodes of a trie, so that appending and comparing take constant time."""

    def __init__(self) -> None:
        self._parent, self._label, self._depth = [0], [0], [0]
        self._nodes: dict[tuple[int, int], int] = {}

    def append(self, string: int, label: int) -> int:
        """The string with one transition-id more; label 0 adds nothing."""
        if not label:
            return string
        node = self._nodes.get((string, label))
        if node is None:
            node = self._nodes[string, label] = len(self._parent)
            self._parent.append(string)
            self._label.append(label)
            self._depth.append(self._depth[string] + 1)
        return node

    def extend(self, string: int, labels: tuple[int, ...]) -> int:
        """The string with some transition-ids more."""
        nodes = self._nodes
        for label in labels:
            node = nodes.get((string, label))
            string = self.append(string, label) if node is None else node
        return string

    def common_prefix(self, strings: list[int]) -> int:
        """The longest string with which all begin."""
        prefix, parent, depth = strings[0], self._parent, self._depth
        for string in strings:
            if prefix == NO_STRING:
                break
            while prefix != string:
                if depth[prefix] >= depth[string]:
                    prefix = parent[prefix]
                else:
                    string = parent[string]
        return prefix

    def labels(self, string: int, prefix: int = NO_STRING) -> list[int]:
        """The transition-ids of a string behind its prefix."""
        labels = []
        while string != prefix:
            labels.append(self._label[string])
            string = self._parent[string]
        return labels[::-1]

    def without_prefix(self, strings: list[int], prefix: int) -> list[int]:
        """What follows the prefix in each string; stems that strings share are walked once."""
        if prefix == NO_STRING:
            return strings
        rest_of = {prefix: NO_STRING}
        for string in strings:
            walked = []
            while string not in rest_of:
                walked.append(string)
                string = self._parent[string]
            rest = rest_of[string]
            for node in reversed(walked):
                rest_of[node] = rest = self.append(rest, self._label[node])
        return [rest_of[string] for string in strings]

    def concatenate(self, first: int, second: int) -> int:
        """The first string and then the second."""
        for label in self.labels(second):
            first = self.append(first, label)
        return first
