"""What a layer reads in the quantized network beside what it reads in the float one, as sums over a calibration set.

They tell which weights make up for the errors of the layers before: those that bring W_q x_q nearest to W x rather than
to W x_q.

Source of the idea: M. Nagel et al., "Up or Down? Adaptive Rounding for Post-Training Quantization", ICML 2020
(asymmetric reconstruction); in closed form for second-order methods: Y. Li et al., "GPTAQ: Efficient Finetuning-Free
Quantization for Asymmetric Calibration", ICML 2025.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from kaldi_quant.quant.damping import DAMPING, damped_factor
from kaldi_quant.quant.grouped import by_group, cross_moments
from kaldi_quant.quant.host import Data, Executable
from kaldi_quant.quant.integer_linear import InputGrid
from kaldi_quant.quant.paired_integers import PairedIntegers
from kaldi_quant.quant.slots import rows_of, rows_that_count, watched

#: Enough rows for learned rounding to be no worse on others; 200 MB each for 3072 columns.
SAMPLE_ROWS = 16384

#: Sees (..., groups * in) of the quantized network and of the float one, for the same frames.
PairedRows = Callable[[Tensor, Tensor], None]


class PairedMoments:
    """First and second moments of paired inputs, about their means.

    Sums of float32 are taken of integers on fine grids (``planes``). Within groups they are taken in floats about the
    first rows' mean, so that inputs that hardly vary lose no digits.

    Args:
        columns: of the layer's weight.
        groups: of the input's columns (``grouped``).
        grid: that the quantized network's inputs lie on, if it is known.
    """

    def __init__(self, columns: int, groups: int = 1, grid: InputGrid | None = None) -> None:
        self.count, self.groups, self._grid = 0, groups, grid
        #: What is subtracted from both inputs before they are summed up.
        self._origins = torch.zeros(2, groups * columns, dtype=torch.float64)
        self._sums = torch.zeros(2, groups * columns, dtype=torch.float64)
        self._squares = cross_moments(self._sums[0], self._sums[0], groups)
        self._products = cross_moments(self._sums[0], self._sums[0], groups)
        self._integers: PairedIntegers | None = None

    # The sums are changed later outside of any such mode.
    @torch.inference_mode(False)
    def add(self, inputs: Tensor, float_inputs: Tensor) -> None:
        """Adds rows; those with a value that is not finite in either network do not count.

        Args:
            inputs: (..., groups * in) float. Of sequences, (..., rows, groups * in), rows may have much in common
                (``splice``), which is computed once.
            float_inputs: likewise.
        """
        # What lies on both grids is finite.
        if self._integers is not None and self._integers.add(_sequences(inputs), _sequences(float_inputs)):
            self.count += inputs.numel() // inputs.shape[-1]
            return
        inputs, float_inputs = _that_count(inputs, float_inputs)
        if not inputs.numel():
            return
        if not self.count:
            self._begin(inputs, float_inputs)
        self.count += inputs.numel() // inputs.shape[-1]
        if self._integers is not None:
            sequences = _sequences(inputs), _sequences(float_inputs)
            if not self._integers.add(*sequences):
                self._settle()
                self._integers = self._integers.wider(*sequences)
            return
        inputs, float_inputs = rows_of(inputs), rows_of(float_inputs)
        origins = self._origins.to(inputs)
        # In float32, whose rounding a few thousand rows average out, products take half the time.
        x, y = inputs - origins[0], float_inputs - origins[1]
        self._sums += torch.stack([x.double().sum(0), y.double().sum(0)]).cpu()
        self._squares += cross_moments(x, x, self.groups).double().cpu()
        self._products += cross_moments(y, x, self.groups).double().cpu()

    def _begin(self, inputs: Tensor, float_inputs: Tensor) -> None:
        means = torch.stack([rows_of(x).double().mean(0) for x in (inputs, float_inputs)])
        self._origins = means.to(inputs.dtype).double().cpu()
        if self.groups == 1 and inputs.dtype == torch.float32:
            self._integers = PairedIntegers.over(_sequences(inputs), _sequences(float_inputs), self._grid)

    def _settle(self) -> None:
        """Adds what the sums of integers stand for."""
        taken = self._integers.taken(self._origins) if self._integers is not None else None
        if taken is None:
            return
        sums, squares, products = taken
        self._sums += sums
        self._squares += squares
        self._products += products

    @property
    def _about_origins(self) -> Tensor:
        """(2, groups * in) float64: the means of both inputs, less the origins."""
        self._settle()
        return self._sums / max(1, self.count)

    @property
    def mean(self) -> Tensor:
        """(groups * in,) float64, of the quantized network's inputs."""
        return (self._origins + self._about_origins)[0]

    @property
    def float_mean(self) -> Tensor:
        """(groups * in,) float64, of the float network's inputs."""
        return (self._origins + self._about_origins)[1]

    @property
    def covariance(self) -> Tensor:
        """(in, in), or (groups, in, in) float64, of the quantized network's inputs."""
        mean = self._about_origins[0]
        return self._squares / max(1, self.count) - cross_moments(mean, mean, self.groups)

    @property
    def cross_covariance(self) -> Tensor:
        """Of the same shape: rows are the float network's inputs, columns the quantized one's."""
        mean, float_mean = self._about_origins
        return self._products / max(1, self.count) - cross_moments(float_mean, mean, self.groups)

    def compensated(self, weight: Tensor, damping: float = DAMPING) -> Tensor:
        """The weights that, on the quantized network's inputs, come closest to the float layer's outputs.

        Damping draws them to ``weight``.

        Args:
            weight: (out, in) float.
            damping: as a share of the covariance's mean diagonal.

        Returns:
            (out, in) float64.
        """
        original, covariance = by_group(weight.double(), self.groups), self.covariance
        missing = original @ (self.cross_covariance - covariance)
        _, factor = damped_factor(covariance, damping)
        return (original + torch.cholesky_solve(missing.mT, factor).mT).reshape(weight.shape)


class PairedSample:
    """Rows of paired inputs, each as likely as any other.

    Args:
        limit: how many at most.
        seed: for the choice.
    """

    def __init__(self, limit: int = SAMPLE_ROWS, seed: int = 0) -> None:
        self.limit = limit
        self._generator = torch.Generator().manual_seed(seed)
        # The rows with the smallest of random keys stay.
        self._keys = torch.zeros(0)
        self._inputs: Tensor | None = None
        self._float_inputs: Tensor | None = None

    def add(self, inputs: Tensor, float_inputs: Tensor) -> None:
        """Sees rows, of which those that are finite in both networks count; (..., groups * in) float each."""
        inputs, float_inputs = (rows_of(x).cpu() for x in _that_count(inputs, float_inputs))
        keys = torch.rand(len(inputs), generator=self._generator)
        if len(self._keys) == self.limit:
            candidates = keys < self._keys.max()
            keys, inputs, float_inputs = keys[candidates], inputs[candidates], float_inputs[candidates]
        if not len(keys):
            return
        keys = torch.cat([self._keys, keys])
        kept = torch.argsort(keys, stable=True)[: self.limit]
        self._keys = keys[kept]
        self._inputs = _chosen(self._inputs, inputs, kept)
        self._float_inputs = _chosen(self._float_inputs, float_inputs, kept)

    def __len__(self) -> int:
        return len(self._keys)

    @property
    def inputs(self) -> Tensor:
        """(rows, groups * in), of the quantized network."""
        assert self._inputs is not None
        return self._inputs

    @property
    def float_inputs(self) -> Tensor:
        """(rows, groups * in), of the float network."""
        assert self._float_inputs is not None
        return self._float_inputs


def _that_count(inputs: Tensor, float_inputs: Tensor) -> tuple[Tensor, Tensor]:
    """Inputs, (..., columns) each, as they are where all are finite, else the rows that are on both sides."""
    # It is finite where both are.
    differences = rows_of(float_inputs - inputs)
    if len(rows_that_count(differences)) == len(differences):
        return inputs, float_inputs
    counts = torch.isfinite(differences).all(1)
    return rows_of(inputs)[counts], rows_of(float_inputs)[counts]


def _sequences(x: Tensor) -> Tensor:
    """(..., rows, columns) → (sequences, rows, columns); rows alone are one sequence."""
    return x.flatten(0, -3) if x.dim() > 3 else x.reshape(*[1] * (3 - x.dim()), *x.shape)


def _chosen(before: Tensor | None, more: Tensor, kept: Tensor) -> Tensor:
    return (more if before is None else torch.cat([before, more]))[kept]


def see_rows_on_grid(
    float_model: Executable,
    layer: str,
    data: Data,
    on_grid: Callable[[Tensor], Tensor],
    see: PairedRows,
) -> None:
    """Shows what a layer reads in the float network as it is on a grid, beside what it is in float.

    Args:
        float_model: the float network.
        layer: its name.
        data: the calibration set.
        on_grid: puts rows, (rows, groups * in), on the layer's input grid.
        see: is shown the two.

    Raises:
        DataError: the calibration set cannot be used.
    """

    def compare(x: Tensor) -> None:
        rows = rows_that_count(x.detach()).cpu()
        see(on_grid(rows), rows)

    with watched(float_model, {layer: compare}):
        data.run(float_model)
