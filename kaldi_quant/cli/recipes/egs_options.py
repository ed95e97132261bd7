"""The options of Kaldi's ``get_egs.sh`` for a model and its training data."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from functools import cached_property

from kaldi_quant.cli.recipes.kaldi_folders import KaldiFolders, first_line
from kaldi_quant.errors import DataError, UsageError

# As in Kaldi's recipes for chain models.
_FRAMES_PER_EG = "150,110,100"
_CMVN_OPTIONS = "--norm-means=false --norm-vars=false"
# So many utterances get_egs.sh holds out, and takes as many others for diagnostics; it fails where there are fewer.
_HELD_OUT = 300
_SMALLEST_SHARE = 10


@dataclass(frozen=True)
class EgsScriptOptions:
    """The options.

    Args:
        folders: of the recipe.
        subsampling: the model's frame-subsampling factor.
        more: as a shell takes them; they outrank the others.
    """

    folders: KaldiFolders
    subsampling: int
    more: str = ""

    def words(self) -> list[str]:
        """As the script takes them, but for how jobs are run.

        Raises:
            DataError: the model or the training data cannot be read.
            UsageError: see ``more_options``.
        """
        options = {"--num-utts-subset": str(self._held_out()), **self.fixed()}
        return [word for pair in options.items() for word in pair]

    def fixed(self) -> dict[str, str]:
        """Those that do not depend on the training data, with their dashes."""
        left, right = self._context
        cmvn = self.folders.model / "cmvn_opts"
        options = {
            "cmvn-opts": first_line(cmvn) if cmvn.exists() else _CMVN_OPTIONS,
            **({"online-cmvn": "true"} if (self.folders.model / "online_cmvn").exists() else {}),
            "online-ivector-dir": self.folders.ivectors,
            # Room for frame shifts, as Kaldi's train.py leaves it.
            "left-context": left + self.subsampling // 2,
            "right-context": right + self.subsampling // 2,
            "frame-subsampling-factor": self.subsampling,
            "alignment-subsampling-factor": self.subsampling,
            "frames-per-eg": _FRAMES_PER_EG,
        }
        return {**{f"--{name}": str(value) for name, value in options.items()}, **more_options(self.more)}

    @cached_property
    def _context(self) -> tuple[int, int]:
        from kaldi_quant.kaldi.model import read_model
        from kaldi_quant.nnet3.model import AcousticModel

        context = AcousticModel(read_model(self.folders.model / "final.mdl").nnet).context
        return context.left, context.right

    def _held_out(self) -> int:
        """Kaldi's 300 utterances, or a tenth of a smaller corpus."""
        path = self.folders.train_data / "utt2spk"
        try:
            with path.open("rb") as stream:
                utterances = sum(1 for line in stream if line.strip())
        except OSError as error:
            raise DataError(f"{path}: {error.strerror}; --train-data-dir names the training data") from error
        return max(1, min(_HELD_OUT, max(_SMALLEST_SHARE, utterances // 10), utterances // 2))


def more_options(text: str) -> dict[str, str]:
    """The options in ``--egs-opts``, with their dashes.

    Raises:
        UsageError: they are none.
    """
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise UsageError(f"--egs-opts {text!r}: {error}") from error
    names, values = words[::2], words[1::2]
    if len(words) % 2 or any(not name.startswith("--") or "=" in name or len(name) < 3 for name in names):
        raise UsageError(
            f"--egs-opts {text!r}: expected options of get_egs.sh, each with its value behind it, such as "
            "'--num-utts-subset 100 --frames-per-iter 100000'"
        )
    return dict(zip(names, values, strict=True))
