"""Functions at the values of a network that runs: they see a value, or put another in its place."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager

from torch import Tensor, nn

#: Is given a node's value, (N, ..., channels), and returns what takes its place.
Tap = Callable[[Tensor], Tensor]


class Taps(nn.Module, MutableMapping[str, Tap]):
    """For some nodes a tap. Those that are modules are moved, stored and shared with the network that has them."""

    def __init__(self) -> None:
        super().__init__()
        self._taps: dict[str, Tap] = {}
        # Names of nodes may have dots, which names of modules may not.
        self._held = nn.ModuleList()

    def _hold(self) -> None:
        self._held = nn.ModuleList(tap for tap in self._taps.values() if isinstance(tap, nn.Module))

    def __getitem__(self, node: str) -> Tap:
        return self._taps[node]

    def __setitem__(self, node: str, tap: Tap) -> None:
        self._taps[node] = tap
        self._hold()

    def __delitem__(self, node: str) -> None:
        del self._taps[node]
        self._hold()

    def __iter__(self) -> Iterator[str]:
        return iter(self._taps)

    def __len__(self) -> int:
        return len(self._taps)

    def __contains__(self, node: object) -> bool:
        return node in self._taps

    # By identity, as of every module.
    __hash__ = nn.Module.__hash__
    __eq__ = object.__eq__

    @contextmanager
    def with_others(self, others: Mapping[str, Tap]) -> Iterator[None]:
        """Within the block, some nodes have other taps."""
        before = dict(self._taps)
        self.update(others)
        try:
            yield
        finally:
            self._taps = before
            self._hold()


class SeenTap(nn.Module):
    """A tap that shows what another one returns.

    Args:
        tap: the other; None for the value itself.
        see: is shown it, (N, ..., channels).
    """

    def __init__(self, tap: Tap | None, see: Callable[[Tensor], object]) -> None:
        super().__init__()
        self.tap, self.see = tap, see

    def forward(self, x: Tensor) -> Tensor:
        """As the other tap."""
        result = x if self.tap is None else self.tap(x)
        self.see(result)
        return result
