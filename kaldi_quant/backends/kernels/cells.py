"""What recurrent cells compute of their two products, in compiled code.

Formulas, the order of gates and of operations are those of ``torch.nn`` and ``torchnn.recurrent_cells``.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

from kaldi_quant.backends.kernels.functions import sigmoid, tanh
from kaldi_quant.registry import Registry

#: By torch's names, for compiled code: (of_input, of_hidden, hidden, memory). The products are (gates * size,) float32;
#: the states, (size,) float32, become those of the next time. Cells that add to their state take it from ``memory``.
CELLS: Registry[Any] = Registry("recurrent cell with a kernel")

_ONE, _ZERO = np.float32(1.0), np.float32(0.0)


@CELLS.add("LSTM")
@numba.njit(error_model="numpy")
def lstm(of_input: np.ndarray, of_hidden: np.ndarray, hidden: np.ndarray, memory: np.ndarray) -> None:
    """Long short-term memory."""
    size = hidden.shape[0]
    for i in range(size):
        enter = sigmoid(of_input[i] + of_hidden[i])
        keep = sigmoid(of_input[size + i] + of_hidden[size + i])
        candidate = tanh(of_input[2 * size + i] + of_hidden[2 * size + i])
        leave = sigmoid(of_input[3 * size + i] + of_hidden[3 * size + i])
        memory[i] = keep * memory[i] + enter * candidate
        hidden[i] = leave * tanh(memory[i])


@CELLS.add("GRU")
@numba.njit(error_model="numpy")
def gru(of_input: np.ndarray, of_hidden: np.ndarray, hidden: np.ndarray, memory: np.ndarray) -> None:
    """Gated recurrent units."""
    size = hidden.shape[0]
    for i in range(size):
        reset = sigmoid(of_input[i] + of_hidden[i])
        kept = sigmoid(of_input[size + i] + of_hidden[size + i])
        new = tanh(of_input[2 * size + i] + reset * of_hidden[2 * size + i])
        hidden[i] = memory[i] = (_ONE - kept) * new + kept * memory[i]


@CELLS.add("RNN_TANH")
@numba.njit(error_model="numpy")
def tanh_cell(of_input: np.ndarray, of_hidden: np.ndarray, hidden: np.ndarray, memory: np.ndarray) -> None:
    """Elman's cell."""
    for i in range(hidden.shape[0]):
        hidden[i] = tanh(of_input[i] + of_hidden[i])


@CELLS.add("RNN_RELU")
@numba.njit(error_model="numpy")
def relu_cell(of_input: np.ndarray, of_hidden: np.ndarray, hidden: np.ndarray, memory: np.ndarray) -> None:
    """Elman's with rectifiers."""
    for i in range(hidden.shape[0]):
        hidden[i] = max(of_input[i] + of_hidden[i], _ZERO)
