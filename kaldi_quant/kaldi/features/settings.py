"""What a model wants its features to be: the files that Kaldi's training leaves beside ``final.mdl``.

Beside those of ``normalisation`` there are ``delta_opts``, ``splice_opts`` and ``final.mat`` of GMM systems and of
networks that were trained on their features.

Source: ``steps/decode.sh``, ``steps/nnet2/decode.sh``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from kaldi_quant.errors import FormatError
from kaldi_quant.kaldi.features.deltas import DeltaOptions
from kaldi_quant.kaldi.features.matrices import read_matrix_file
from kaldi_quant.kaldi.features.normalisation import (
    CMVN_OPTS,
    GLOBAL_STATS,
    ONLINE_CMVN,
    Normalisation,
    NormalisationOptions,
    Options,
    Said,
    parse,
)
from kaldi_quant.kaldi.features.online_cmvn import OnlineCmvnOptions
from kaldi_quant.kaldi.features.packed_matrix import pack, unpack
from kaldi_quant.kaldi.features.splice import SpliceOptions
from kaldi_quant.kaldi.parse_options import as_text
from kaldi_quant.kaldi.text import read_text
from kaldi_quant.kaldi.writer import make_writer

#: Under this name an integer model's record tells what its features are.
RECORD_KEY = "features"

DELTA_OPTS, SPLICE_OPTS, LDA = "delta_opts", "splice_opts", "final.mat"


@dataclass(frozen=True, eq=False)
class FeatureSettings:
    """What a model wants its features to be.

    Attributes:
        normalisation: how they are normalised.
        deltas: derivatives that are appended.
        splice: neighbours that stand beside each frame before ``lda``.
        lda: (out, dim) or (out, dim + 1) float64, multiplies spliced frames.
        files: that were read.
    """

    normalisation: Normalisation = field(default_factory=Normalisation)
    deltas: DeltaOptions | None = None
    splice: SpliceOptions | None = None
    lda: np.ndarray | None = None
    files: tuple[str, ...] = ()

    @property
    def is_normalised(self) -> bool:
        """Whether normalisation changes anything."""
        return self.normalisation.options is not None and self.normalisation.options.norm_means

    def is_normalised_as(self, other: FeatureSettings) -> bool:
        """Whether normalisation gives the same features here and there."""
        if not self.is_normalised or not other.is_normalised:
            return self.is_normalised == other.is_normalised
        ours, theirs = self.normalisation, other.normalisation
        if ours.options != theirs.options or (ours.global_stats is None) != (theirs.global_stats is None):
            return False
        if ours.global_stats is None or theirs.global_stats is None:
            return True
        same_shape = ours.global_stats.shape == theirs.global_stats.shape
        # One of them may have been written as text, with seven digits.
        return same_shape and np.allclose(ours.global_stats, theirs.global_stats, rtol=1e-5)

    def for_dim(self, input_dim: int) -> FeatureSettings:
        """Without a transform and without derivatives that cannot give a model's input.

        Folders often hold those of the GMM system that alignments came from.
        """
        lda = self.lda if self.lda is not None and len(self.lda) == input_dim else None
        splice = self.splice if lda is not None else None
        deltas = self.deltas if self.deltas and input_dim % self.deltas.output_dim(1) == 0 else None
        return replace(self, lda=lda, splice=splice, deltas=deltas)

    def as_dict(self) -> dict[str, Any]:
        """The same for JSON, under the names of Kaldi's files: options as texts, in full, and matrices."""
        cmvn = self.normalisation.options
        options = {CMVN_OPTS: cmvn, DELTA_OPTS: self.deltas, SPLICE_OPTS: self.splice}
        found: dict[str, Any] = {
            name: as_text(asdict(values)) for name, values in options.items() if values is not None
        }
        if isinstance(cmvn, OnlineCmvnOptions):
            found[ONLINE_CMVN] = True
        matrices = {GLOBAL_STATS: self.normalisation.global_stats, LDA: self.lda}
        return found | {name: pack(matrix) for name, matrix in matrices.items() if matrix is not None}

    def contents(self) -> dict[str, bytes]:
        """The contents of Kaldi's files in a model's folder, by name."""
        files = {name: f"{text}\n".encode() for name, text in self.as_dict().items() if isinstance(text, str)}
        if isinstance(self.normalisation.options, OnlineCmvnOptions):
            files[ONLINE_CMVN] = b""
        for name, matrix in ((GLOBAL_STATS, self.normalisation.global_stats), (LDA, self.lda)):
            if matrix is not None:
                writer = make_writer(binary=True)
                writer.matrix(matrix)
                files[name] = writer.getvalue()
        return files


def settings_of_folder(folder: Path | None, options: NormalisationOptions | None = None) -> FeatureSettings:
    """What a model's folder says of features.

    Args:
        folder: of ``final.mdl``; None for a model from standard input or a command, of which only options tell.
        options: used in place of what it says.

    Raises:
        FormatError: a file is malformed; names it and the option.
        UsageError: a file is missing, or options contradict each other.
    """
    given = options or NormalisationOptions()
    if folder is None:
        return FeatureSettings(Said(None, "", "", None, "--global-cmvn-stats").with_options(given).resolved())
    paths = {name: folder / name for name in (DELTA_OPTS, SPLICE_OPTS, LDA) if (folder / name).is_file()}
    texts = {name: read_text(path) for name, path in paths.items() if name != LDA}
    said = Said.by_folder(folder).with_options(given)
    normalisation = said.resolved(str(folder / CMVN_OPTS))
    return FeatureSettings(
        normalisation,
        _parsed(texts, DELTA_OPTS, DeltaOptions, folder),
        _parsed(texts, SPLICE_OPTS, SpliceOptions, folder),
        read_matrix_file(str(paths[LDA])) if LDA in paths else None,
        (*normalisation.files, *map(str, paths.values())),
    )


def settings_of_record(content: Any, path: str, options: NormalisationOptions | None = None) -> FeatureSettings:
    """What an integer model says of features: reads what ``as_dict`` made.

    Args:
        content: of its record, under ``features``.
        path: of the model, for messages.
        options: used in place of what it says.

    Raises:
        FormatError: it was changed.
        UsageError: options contradict each other.
    """
    known = {CMVN_OPTS, ONLINE_CMVN, GLOBAL_STATS, DELTA_OPTS, SPLICE_OPTS, LDA}
    if not isinstance(content, dict) or set(content) - known:
        raise FormatError(path, None, f"expected {', '.join(sorted(known))} of its features, found something else")
    texts = {name: content[name] for name in (CMVN_OPTS, DELTA_OPTS, SPLICE_OPTS) if name in content}
    if not all(isinstance(text, str) for text in texts.values()):
        raise FormatError(path, None, "expected options of its features as texts")
    matrices = {name: unpack(content[name], f"{path}, {name}") for name in (GLOBAL_STATS, LDA) if name in content}
    where = {name: f"{path} ({name})" for name in known}
    online = where[ONLINE_CMVN] if content.get(ONLINE_CMVN) is True else ""
    said = Said(texts.get(CMVN_OPTS), where[CMVN_OPTS], online, matrices.get(GLOBAL_STATS), where[GLOBAL_STATS])
    normalisation = said.with_options(options or NormalisationOptions()).resolved(path)
    deltas, splice = _parsed(texts, DELTA_OPTS, DeltaOptions, path), _parsed(texts, SPLICE_OPTS, SpliceOptions, path)
    return FeatureSettings(normalisation, deltas, splice, matrices.get(LDA), (*normalisation.files, path))


def _parsed(texts: Mapping[str, str], name: str, kind: type[Options], where: Path | str) -> Options | None:
    if name not in texts:
        return None
    place = str(where / name) if isinstance(where, Path) else f"{where} ({name})"
    return parse(texts[name], kind, place, place)[0]
