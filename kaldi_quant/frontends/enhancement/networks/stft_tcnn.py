"""STFT-TCNN: residual blocks of depthwise convolutions over time, as in the STM32 model zoo.

The "medium" network there has 1,603,584 parameters; 1,594,368 once batch normalizations are folded.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from kaldi_quant.errors import UsageError
from kaldi_quant.frontends.enhancement.networks.activations import Activation, activation
from kaldi_quant.frontends.enhancement.networks.past import Past, States


class ResBlock(nn.Module):
    """To more channels, over time in each of them, and back; added to what came in.

    Args:
        channels: that come in and go out.
        latent: in between.
        kernel: over time, odd.
        dilation: over time.
        causal: whether it sees no later frame; else as many later as earlier ones.
    """

    def __init__(self, channels: int, latent: int, kernel: int, dilation: int, causal: bool) -> None:
        super().__init__()
        around = (kernel - 1) * dilation
        self.before = around if causal else 0
        padding = 0 if causal else around // 2
        self.inner = nn.Conv1d(channels, latent, 1)
        self.inner_norm = nn.BatchNorm1d(latent)
        self.depthwise = nn.Conv1d(
            latent, latent, kernel, dilation=dilation, padding=padding, groups=latent, bias=False
        )
        self.depthwise_norm = nn.BatchNorm1d(latent)
        self.outer = nn.Conv1d(latent, channels, 1, bias=False)

    def forward(self, x: Tensor, past: Past) -> Tensor:
        """(N, C, T) → (N, C, T)."""
        y = functional.relu(self.inner_norm(self.inner(x)))
        y = self.depthwise(past.before(y, self.before) if self.before else y)
        return self.outer(functional.relu(self.depthwise_norm(y))) + x


class STFTTCNN(nn.Module):
    """The network; gives a mask.

    Args:
        in_channels: bins of a spectrum.
        latent: channels within blocks.
        n_blocks: how often the dilations begin anew.
        num_layers: blocks of residual layers for each; the dilation of layer i is ``init_dilation ** i``.
        kernel_size: over time, odd.
        init_dilation: base of dilations.
        mask_activation: sigmoid or tanh.
        causal: whether no later frame is seen.

    Raises:
        UsageError: there is no such activation, or the kernel is even.

    Example:
        >>> STFTTCNN()(torch.rand(1, 257, 40)).shape
        torch.Size([1, 257, 40])
    """

    def __init__(
        self,
        in_channels: int = 257,
        latent: int = 512,
        n_blocks: int = 2,
        num_layers: int = 3,
        kernel_size: int = 3,
        init_dilation: int = 2,
        mask_activation: Activation = "sigmoid",
        causal: bool = False,
    ) -> None:
        super().__init__()
        if kernel_size % 2 != 1:
            raise UsageError(f"kernel_size {kernel_size}: expected an odd number")
        self.bins, self.mask_activation, self.causal = in_channels, activation(mask_activation), causal
        dilations = [init_dilation**place for _ in range(n_blocks) for place in range(num_layers)]
        blocks = [ResBlock(in_channels, latent, kernel_size, dilation, causal) for dilation in dilations]
        self.layers = nn.ModuleList(blocks)
        self.latent, self._contexts = latent, [block.before for block in blocks]

    def forward(self, magnitude: Tensor, states: States | None = None) -> Tensor | tuple[Tensor, States]:
        """(N, bins, T): a mask; and the states after these frames, if some are given.

        Args:
            magnitude: (N, bins, T), of noisy speech.
            states: of the frames before, for a stream of a causal network; by default there were none.

        Raises:
            UsageError: there are states, and the network is not causal.
        """
        if states is not None and not self.causal:
            raise UsageError("a network that sees later frames has no stream: expected no states")
        past = Past(states)
        x = magnitude
        for layer in self.layers:
            x = layer(x, past)
        return past.result(self.mask_activation(x))

    def states(self, batch: int = 1) -> States:
        """What a stream begins with: zeros, (batch, latent, context) for each block.

        Raises:
            UsageError: the network is not causal.
        """
        if not self.causal:
            raise UsageError("a network that sees later frames has no stream: choose a causal one")
        return tuple(torch.zeros(batch, self.latent, context) for context in self._contexts)
