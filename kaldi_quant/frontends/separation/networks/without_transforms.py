"""Quantized networks without transforms of signals, which ONNX has no operators for, and the transforms around them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from kaldi_quant.api.networks import TorchNetwork
from kaldi_quant.api.quantization import Quantized, part_of
from kaldi_quant.frontends.separation.networks.complex_channels import Analysis, Synthesis
from kaldi_quant.frontends.separation.networks.htdemucs import HTDemucs
from kaldi_quant.torchnn.host import TorchHost


def for_onnx(quantized: Quantized, network: nn.Module | None = None) -> Quantized:
    """What can be written as ONNX: of HTDemucs, also within other modules, the core; of other networks all.

    Args:
        quantized: of ``torch.nn``.
        network: the same in float; needed for one that was read from a file.

    Returns:
        The core with the same integers: spectra (N, 2 * channels, bins, frames) and waves (N, channels, samples) to the
        same of each source, (N, sources, ...). ``AroundCore`` makes it a network of mixtures.

    Raises:
        ModelError: the float network is another one.

    Example:
        >>> kq.export(for_onnx(quantized), "network.onnx")
    """
    origin, host = quantized.origin, quantized.network.host
    whole = network or (origin.module if isinstance(origin, TorchNetwork) else None)
    if whole is None or not isinstance(host, TorchHost):
        return quantized
    found = [(path, module) for path, module in whole.named_modules() if isinstance(module, HTDemucs)]
    if not found:
        return quantized
    path, inner = found[0]
    seen: list[tuple[Tensor, Tensor]] = []
    handle = inner.analysis.register_forward_hook(lambda _, args, result: seen.append(result[:2]))
    try:
        with torch.no_grad():
            host.example.copied().run(whole)
    finally:
        handle.remove()
    part: nn.Module = inner.core()
    for name in reversed(path.split(".") if path else []):
        part = _Within(name, part)
    return part_of(quantized, TorchNetwork(part.eval(), output=0), seen[0])


class _Within(nn.Module):
    """A module at a path of its own."""

    def __init__(self, name: str, inner: nn.Module) -> None:
        super().__init__()
        self.add_module(name, inner)
        self._inner_name = name

    def forward(self, spectrum: Tensor, wave: Tensor) -> Any:
        return getattr(self, self._inner_name)(spectrum, wave)


class AroundCore(nn.Module):
    """The transforms around a core of HTDemucs, which may be one in integers: (N, C, T) to (N, S, C, T).

    Args:
        core: two tensors for two, as of ``for_onnx``; also a session of onnxruntime that is called so.
        nfft: points of the transform: twice the bins of a spectrum.

    Example:
        >>> separate = AroundCore(core.network.model(), nfft=4096)
    """

    def __init__(self, core: Callable[[Tensor, Tensor], Any], nfft: int) -> None:
        super().__init__()
        self.analysis, self.synthesis, self.core = Analysis(nfft), Synthesis(nfft), core

    def forward(self, mixture: Tensor) -> Tensor:
        """See above."""
        spectrum, wave, level, level_of_wave = self.analysis(mixture)
        spectra, waves = self.core(spectrum, wave)
        return self.synthesis(spectra, waves, level, level_of_wave)
