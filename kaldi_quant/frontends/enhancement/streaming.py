"""Waves that are enhanced as they come, block by block, by causal networks in float and in integers."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from kaldi_quant.api.files import export
from kaldi_quant.api.networks import TorchNetwork
from kaldi_quant.api.quantization import Quantized, called_with
from kaldi_quant.backends.onnx.session import open_session
from kaldi_quant.errors import FormatError, ModelError, UsageError
from kaldi_quant.frontends.enhancement.networks.known import Around, Kind
from kaldi_quant.frontends.enhancement.networks.past import States
from kaldi_quant.frontends.signals.transform_streams import SpectrumStream, WaveStream, delay_of

#: What a network of a stream gives beside its states comes first.
_OUTPUT = 0
# As many frames are compared between a stream and a whole recording, in pieces of these lengths.
_PIECES = (1, 2)


@dataclass(frozen=True)
class FrameNetwork:
    """A network that is called with the next frames and the states before them.

    Args:
        run: called with frames, as ``Around.inputs`` gives them, and states; gives its output and the states after.
        states: that a stream begins with.
    """

    run: Callable[[Tensor, States], tuple[Tensor, States]]
    states: States

    @classmethod
    def of(cls, network: Any) -> FrameNetwork:
        """A float network, in test mode.

        Raises:
            UsageError: it has no ``states()``, or sees later frames.
        """
        return cls(network.eval(), states_of(network))

    @classmethod
    def in_integers(cls, quantized: Quantized, network: Any) -> FrameNetwork:
        """The integer reference of a network that ``streaming`` has made, or can make."""
        return cls(streaming(quantized, network).network.model(), states_of(network))

    @classmethod
    def of_onnx(cls, path: str | os.PathLike[str]) -> FrameNetwork:
        """A file for one frame on onnxruntime, on one thread (``write_onnx_frame``).

        Raises:
            FormatError: it has no states, or axes of any length.
            MissingDependencyError: onnxruntime is not installed.
        """
        session = open_session(Path(path).read_bytes())
        inputs, outputs = session.get_inputs(), session.get_outputs()
        if len(inputs) < 2 or len(inputs) != len(outputs):
            raise FormatError(os.fspath(path), None, "it is not for a stream: it does not take and give states")
        if not all(isinstance(size, int) for each in inputs for size in each.shape):
            raise FormatError(os.fspath(path), None, "it is not for one frame: it has axes of any length")
        names = [each.name for each in inputs]

        def run(frames: Tensor, states: States) -> tuple[Tensor, States]:
            given = dict(zip(names, (value.numpy() for value in (frames.contiguous(), *states)), strict=True))
            output, *after = map(torch.from_numpy, session.run(None, given))
            return output, tuple(after)

        return cls(run, tuple(torch.zeros(each.shape) for each in inputs[1:]))


def states_of(network: Any) -> States:
    """What a stream begins with.

    Raises:
        UsageError: the network has no ``states()``, or sees later frames.
    """
    if not callable(getattr(network, "states", None)):
        raise UsageError(f"a {type(network).__name__} takes no states: it does not stream")
    return network.states()


def frame_of(around: Around, frames: int = 1) -> Tensor:
    """An example of so many frames as a network is called with them."""
    generator = torch.Generator().manual_seed(0)
    return around.inputs(torch.rand(1, frames, around.stft.bins, generator=generator).to(torch.complex64))


def streaming(quantized: Quantized, network: nn.Module) -> Quantized:
    """A quantized network that takes and gives states, with the integers of one that was quantized without.

    It is called with frames and states, and gives its output and the states after these frames.

    Args:
        quantized: from ``quantize``, ``qat`` or ``load``; one that takes states is given back as it is.
        network: the same network as ``NETWORKS`` has it; its weights do not count.

    Raises:
        UsageError: the network sees later frames.
        ModelError: it is another one, or gives in pieces something else than for a whole recording.
    """
    states = states_of(network)
    call = quantized.network.host.example  # type: ignore[attr-defined]
    if len(call.tensors) > 1:
        return quantized
    example = call.tensors[0]
    time = _axis_of_frames(network, example)
    given = torch.cat([example[:1]] * (1 + sum(_PIECES) // example.shape[time]), time).narrow(time, 0, sum(_PIECES))
    given = torch.rand(given.shape, generator=torch.Generator().manual_seed(0))
    found = called_with(quantized, TorchNetwork(network, output=_OUTPUT), (given.narrow(time, 0, 1), states))
    with torch.no_grad():
        whole, model, outputs = quantized.network.model()(given), found.network.model(), []
        for piece in given.split(list(_PIECES), time):
            output, states = model(piece, states)
            outputs.append(output)
    # Functions in float at the end may differ in their last bits.
    if not torch.allclose(torch.cat(outputs, time), whole, rtol=0, atol=1e-6 * (float(whole.abs().max()) or 1.0)):
        raise ModelError("the network gives in pieces something else than for a whole recording")
    return found


def _axis_of_frames(network: Any, example: Tensor) -> int:
    """The axis of an input, (N, T, bins) or (N, bins, T), that is not of bins."""
    return 2 if example.shape[1] == network.bins else 1


def write_onnx_frame(quantized: Quantized, network: nn.Module, around: Around, path: str | os.PathLike[str]) -> Path:
    """Writes a file for one frame of a stream, which takes states and gives them, for ``FrameNetwork.of_onnx``.

    Args:
        quantized: of ``streaming``, or what that takes.
        network: the same network; its weights do not count.
        around: what stands around it.
        path: of the file.

    Raises:
        ModelError: it has no such form, or it is another network.
        MissingDependencyError: onnx or onnxruntime is not installed.
    """
    example = (frame_of(around), states_of(network))
    return export(streaming(quantized, network), path, example=example, dynamic_axes=False)


class EnhancementStream:
    """A recording that is enhanced as it comes; what comes out is ``delay`` samples late.

    After the delay the samples are those of ``Around.enhance``, but for the last half window of a recording where the
    transform has no frame behind it (``hann-512``).

    Args:
        around: what stands around the network, or its kind.
        network: a float one, or any as a ``FrameNetwork``.

    Raises:
        UsageError: the network does not stream.

    Example:
        >>> kind = NETWORKS["crn-100k"]
        >>> stream = EnhancementStream(kind, kind.build())
        >>> late = [stream.push(block) for block in wave.split(stream.hop)]
    """

    def __init__(self, around: Around | Kind, network: FrameNetwork | nn.Module) -> None:
        self.around = around.around if isinstance(around, Kind) else around
        self._network = network if isinstance(network, FrameNetwork) else FrameNetwork.of(network)
        self._states = self._network.states
        self._spectra, self._waves = SpectrumStream(self.around.stft), WaveStream(self.around.stft)

    @property
    def hop(self) -> int:
        """Samples of a block."""
        return self.around.stft.hop

    @property
    def delay(self) -> int:
        """By how many samples the output lies behind the input."""
        return delay_of(self.around.stft)

    @torch.inference_mode()
    def push(self, block: Tensor) -> Tensor:
        """(hop,) float32 for the next samples, (hop,) float32.

        Raises:
            DataError: they are more or fewer.
        """
        spectrum = self._spectra.push(block)
        if spectrum is not None:
            output, self._states = self._network.run(self.around.inputs(spectrum), self._states)
            spectrum = self.around.enhanced(spectrum, output)
        return self._waves.push(spectrum)

    def enhance(self, wave: Tensor) -> Tensor:
        """A whole recording, (samples,) float32, block by block, without the delay; of a stream that is new."""
        behind = -(len(wave) + self.delay) % self.hop
        padded = torch.cat([wave, wave.new_zeros(self.delay + behind)])
        found = torch.cat([self.push(block) for block in padded.split(self.hop)])
        return found[self.delay : self.delay + len(wave)]
