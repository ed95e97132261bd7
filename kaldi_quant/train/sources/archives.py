"""The examples of an egs folder, in the order in which Kaldi's training goes through them.

Source: ``get_successful_models`` and ``train_new_models`` in ``steps/libs/nnet3/train/chain_objf/acoustic_model.py``.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from kaldi_quant.errors import DataError, UsageError
from kaldi_quant.kaldi.chain_example import NnetChainExample, shift_times
from kaldi_quant.kaldi.egs import read_examples
from kaldi_quant.nnet.model import AcousticModel
from kaldi_quant.train.sources.examples import check_example

_log = logging.getLogger(__name__)

_ARCHIVE = re.compile(r"cegs\.(\d+)\.ark")
_VALIDATION, _TRAINING = "valid_diagnostic.cegs", "train_diagnostic.cegs"


@dataclass(frozen=True)
class EgsFolder:
    """The examples that training reads.

    Args:
        archives: of training, in order.
        validation: the file of held-out examples, None where there is none.
        combination: the file of training examples on which averages of models are compared, likewise.
    """

    archives: Sequence[Path]
    validation: Path | None
    combination: Path | None

    @classmethod
    def find(cls, folder: str | Path) -> EgsFolder:
        """Looks for ``cegs.N.ark`` and the diagnostics, by the names of Kaldi's ``get_egs.sh``.

        Raises:
            UsageError: there are no examples.
        """
        folder = Path(folder)
        numbered = {
            int(match[1]): path for path in folder.glob("cegs.*.ark") if (match := _ARCHIVE.fullmatch(path.name))
        }
        archives = [numbered[number] for number in sorted(numbered)]
        diagnostic = folder / _TRAINING
        if not archives and diagnostic.exists():
            _log.warning("%s has no cegs.*.ark: training on the examples in %s instead", folder, _TRAINING)
            archives = [diagnostic]
        if not archives:
            raise UsageError(
                f"{folder} has no examples, cegs.1.ark and so on, as steps/nnet3/chain/get_egs.sh makes them"
            )
        found = (path for name in ("combine.cegs", _TRAINING) if (path := folder / name).exists())
        validation = folder / _VALIDATION
        return cls(archives, validation if validation.exists() else None, next(found, None))

    def iteration(self, number: int, shifts: Sequence[int]) -> tuple[Path, int]:
        """The archive of an iteration, counted from 0, and the shift of its features: another one at each pass."""
        count = len(self.archives)
        return self.archives[number % count], shifts[(number % count + 1 + number // count) % len(shifts)]


def possible_shifts(archive: Path, models: Sequence[AcousticModel], subsampling: int) -> list[int]:
    """By how many frames the features may move against the output, so that the models' context is still there.

    Args:
        archive: whose first example is looked at.
        models: that compute the examples: what is trained, and its teacher.
        subsampling: Kaldi shifts by 0 to ``subsampling`` - 1 frames.

    Raises:
        DataError: the example does not fit a model, however it is shifted, or has an output at another step.
    """
    (key, example) = next(islice(read_examples(f"ark:{archive}"), 1))
    steps = {int(step) for output in example.outputs for step in np.diff(output.times)}
    if steps - {subsampling}:
        raise DataError(
            f"{archive} has an output every {', '.join(map(str, sorted(steps)))} frames, and the model's "
            f"frame-subsampling factor is {subsampling}: see the file frame_subsampling_factor beside the model, or "
            "--frame-subsampling-factor"
        )
    for model in models:
        try:
            check_example(key, example, model)
        except DataError as error:
            raise DataError(f"{archive} does not fit {model.nnet.path}: {error}") from error
    return [shift for shift in range(subsampling) if shift == 0 or _fits(key, example, shift, models)]


def _fits(key: str, example: NnetChainExample, shift: int, models: Sequence[AcousticModel]) -> bool:
    try:
        for model in models:
            check_example(key, shift_times(example, shift), model)
    except DataError:
        return False
    return True
