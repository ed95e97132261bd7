"""M5: four convolutions over the waveform, and one linear layer over words.

Source: W. Dai et al., "Very deep convolutional neural networks for raw waveforms", ICASSP 2017; with the sizes of
PyTorch's tutorial on speech commands.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional

from kaldi_quant.errors import UsageError

BLOCKS = 4
POOLED = 4


class M5(nn.Module):
    """Classifies waveforms. Each block is a convolution, a batch normalization, a ReLU, and the largest of four.

    Args:
        n_input: channels of the waveform.
        n_output: classes.
        stride: of the first convolution.
        n_channel: channels of the first two blocks; the other two have twice as many.
        conv_kernel_sizes: of the blocks' convolutions.

    Raises:
        UsageError: there is not one kernel size for each block, or a number is not positive.

    Example:
        >>> M5(n_output=35)(torch.zeros(2, 1, 8000)).shape
        torch.Size([2, 1, 35])
    """

    def __init__(
        self,
        n_input: int = 1,
        n_output: int = 35,
        stride: int = 16,
        n_channel: int = 32,
        conv_kernel_sizes: Sequence[int] = (80, 3, 3, 3),
    ) -> None:
        super().__init__()
        kernels = tuple(conv_kernel_sizes)
        if len(kernels) != BLOCKS or min(n_input, n_output, stride, n_channel, *kernels) < 1:
            raise UsageError(
                f"M5: expected {BLOCKS} conv_kernel_sizes, and numbers above 0, found n_input {n_input}, "
                f"n_output {n_output}, stride {stride}, n_channel {n_channel}, conv_kernel_sizes {list(kernels)}"
            )
        self.n_input, self.n_output, self.stride, self.conv_kernel_sizes = n_input, n_output, stride, kernels
        wide = 2 * n_channel
        self.conv1 = nn.Conv1d(n_input, n_channel, kernels[0], stride)
        self.bn1, self.relu1, self.pool1 = nn.BatchNorm1d(n_channel), nn.ReLU(), nn.MaxPool1d(POOLED)
        self.conv2 = nn.Conv1d(n_channel, n_channel, kernels[1])
        self.bn2, self.relu2, self.pool2 = nn.BatchNorm1d(n_channel), nn.ReLU(), nn.MaxPool1d(POOLED)
        self.conv3 = nn.Conv1d(n_channel, wide, kernels[2])
        self.bn3, self.relu3, self.pool3 = nn.BatchNorm1d(wide), nn.ReLU(), nn.MaxPool1d(POOLED)
        self.conv4 = nn.Conv1d(wide, wide, kernels[3])
        self.bn4, self.relu4, self.pool4 = nn.BatchNorm1d(wide), nn.ReLU(), nn.MaxPool1d(POOLED)
        self.fc1 = nn.Linear(wide, n_output)

    def forward(self, waves: Tensor) -> Tensor:
        """waves: (B, n_input, T) float32 → (B, 1, n_output), log-probabilities of classes."""
        return functional.log_softmax(self.scores(waves), dim=2)

    def scores(self, waves: Tensor) -> Tensor:
        """The same before the softmax."""
        x = self.pool1(self.relu1(self.bn1(self.conv1(waves))))
        x = self.pool2(self.relu2(self.bn2(self.conv2(x))))
        x = self.pool3(self.relu3(self.bn3(self.conv3(x))))
        x = self.pool4(self.relu4(self.bn4(self.conv4(x))))
        scores: Tensor = self.fc1(functional.adaptive_avg_pool1d(x, 1).transpose(1, 2))
        return scores

    def lengths(self, samples: int) -> list[int]:
        """Of the signal, and then of what each convolution and each pooling leaves of it."""
        found = [samples]
        for kernel, stride in zip(self.conv_kernel_sizes, (self.stride, 1, 1, 1), strict=True):
            found.append((found[-1] - kernel) // stride + 1)
            found.append(found[-1] // POOLED)
        return found

    @property
    def least_samples(self) -> int:
        """The shortest signal that leaves something to classify."""
        length = 1
        for kernel, stride in zip(reversed(self.conv_kernel_sizes), (1, 1, 1, self.stride), strict=True):
            length = (length * POOLED - 1) * stride + kernel
        return length
