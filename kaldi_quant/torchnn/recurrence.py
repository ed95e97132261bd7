"""The recurrent half of a layer of cells: its product, one time after the other, and the hidden states of all times.

The recurrent product's input is the hidden state. Where that lies on a grid, it is put there at every time before
products read it, an initial state too: the recurrent product, the next layer and the network's output all have the same
values. What a cell remembers beside it stays in float: the LSTM's c, and the state itself of cells that add to it from
time to time, as GRUs do. Such a state is handed on, and given as the last one, as it was before it was put on its grid.

Dynamic ranges are found at every call of the product, which is every time of each sequence: the range over all times
is not known before the last of them, and ``DynamicQuantizeLinear`` within a loop of onnxruntime does the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from kaldi_quant.quant.repeated import repeated
from kaldi_quant.quant.taps import SeenTap, Tap
from kaldi_quant.torchnn.forms import Layer
from kaldi_quant.torchnn.forms.linear import Linear
from kaldi_quant.torchnn.recurrent_cells import CELLS


class Recurrence(nn.Module):
    """Cells of one layer and direction, from the input product on; one node of a traced graph.

    Args:
        mode: of ``CELLS``.
        hh: the recurrent product.
        reverse: whether the last time comes first.
    """

    def __init__(self, mode: str, hh: nn.Linear, reverse: bool) -> None:
        super().__init__()
        self.mode, self.cell, self.reverse = mode, CELLS[mode], reverse
        #: Whether something in float is handed on from time to time.
        self.remembers = self.cell.remembers or self.cell.adds_to_state
        self.size = hh.in_features
        self.hh: nn.Module = hh
        # In a list, which hides them: they are the whole network's.
        self._taps: list[Mapping[str, Tap]] = [{}]

    def use(self, taps: Mapping[str, Tap]) -> None:
        """Sets what is done at nodes."""
        self._taps = [taps]

    def put_layer(self, name: str) -> set[int]:
        """Makes a layer of the recurrent product; returns the tensors that it takes the place of, by ``id``."""
        if isinstance(self.hh, Layer):
            return set()
        assert isinstance(self.hh, nn.Linear)
        taken = {id(value) for value in self.hh.parameters()}
        self.hh = Linear.of(self.hh.weight, self.hh.bias)
        self.hh.name = name
        return taken

    @property
    def layer(self) -> Layer:
        """The recurrent product, once it is a layer."""
        assert isinstance(self.hh, Layer)
        return self.hh

    def forward(
        self, of_input: Tensor, hidden: Tensor | None = None, memory: Tensor | None = None, node: str = ""
    ) -> Tensor | tuple[Tensor, Tensor]:
        """The hidden states of all times, and what is remembered after the last one by cells that do.

        Args:
            of_input: the input product of all times, (N, T, gates * size).
            hidden: the initial state, (N, size); by default zeros.
            memory: likewise, what is remembered; of cells that add to their state the same as ``hidden``.
            node: the quantizer's of the hidden states, which taps are at.

        Returns:
            (N, T, size), and (N, size) where something is remembered.
        """
        on_grid, sights = _parts(self._taps[0].get(node))
        _, sights_of_product = _parts(self._taps[0].get(getattr(self.hh, "name", "")))
        zeros = of_input.new_zeros(len(of_input), self.size)
        # Zeros are on every grid.
        first = [] if hidden is None else [on_grid(hidden)]
        state = first[0] if first else zeros
        memory = zeros if self.remembers and memory is None else memory
        states, products = [], []
        with repeated(getattr(self.hh, "product", None)), repeated(on_grid):
            for now in reversed(of_input.unbind(1)) if self.reverse else of_input.unbind(1):
                of_hidden = self.hh(state)
                state, memory = self.cell.step(now, of_hidden, state, memory)
                state = on_grid(state)
                states.append(state)
                if sights_of_product:
                    products.append(of_hidden)
        result = torch.stack(states[::-1] if self.reverse else states, 1)
        for see in sights_of_product:
            see(torch.stack(products[::-1] if self.reverse else products, 1))
        for see in sights:
            # An initial state that is given is read like the others.
            see(torch.cat([first[0].unsqueeze(1), result], 1) if first else result)
        return result if memory is None else (result, memory)


def _parts(tap: Tap | None) -> tuple[Tap, list[Callable[[Tensor], object]]]:
    """What a tap makes of a value, which can be done at every time; and what it shows it to, all times at once."""
    sights: list[Callable[[Tensor], object]] = []
    while isinstance(tap, SeenTap):
        sights.insert(0, tap.see)
        tap = tap.tap
    return (lambda x: x) if tap is None else tap, sights
