"""``--vosk-model DIR``: a folder of Vosk's in the place of a model, its graph and its i-vectors.

The folder gives a command its arguments of these kinds, and the values of options that are not given.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kaldi_quant.errors import DataError
from kaldi_quant.formats.names import ARTEFACT_NAME

if TYPE_CHECKING:
    from kaldi_quant.kaldi.vosk_folder import VoskFolder

    _Part = Callable[[VoskFolder], Any]


def _model(folder: VoskFolder) -> Path:
    return folder.model


def _integer_model(folder: VoskFolder) -> Path:
    path = folder.model.parent / ARTEFACT_NAME
    if not path.is_file():
        raise DataError(f"{folder.path} has no integer model {path}: 'quantize --vosk-model' makes one")
    return path


def _model_that_runs(folder: VoskFolder) -> Path:
    """The integer model where it has one, as recognisers take it."""
    path = folder.model.parent / ARTEFACT_NAME
    return path if path.is_file() else folder.model


def _extractor(folder: VoskFolder) -> Path:
    if folder.ivectors is None:
        raise DataError(f"{folder.path} has no extractor of i-vectors")
    return folder.ivectors


def _graph_folder(folder: VoskFolder) -> Path:
    return folder.composed_graph().parent


def _post_scale(folder: VoskFolder) -> float:
    """Kaldi's recipes scale lattices by 10 where log-likelihoods are decoded as they are."""
    return 10.0 if folder.options.acoustic_scale == 1.0 else 1.0


# What arguments and options are, by the names that commands give them.
_ARGUMENTS: dict[str, _Part] = {
    "model": _model,
    "model_in": _model,
    "trans_model": _model,
    "runnable_model": _model_that_runs,
    "integer_model": _integer_model,
    "model_or_folder": lambda folder: folder.path,
    "graph": lambda folder: folder.composed_graph(),
    "graph_dir": _graph_folder,
    "extractor": _extractor,
    "lookahead_lexicon": lambda folder: folder.lookahead_graph()[0],
    "lookahead_grammar": lambda folder: folder.lookahead_graph()[1],
    "disambig_tids": lambda folder: folder.lookahead_graph()[2],
    "composed_graph": lambda folder: folder.words.parent / "HCLG.fst",
}
# None leaves an option as it is.
_OPTIONS: dict[str, _Part] = {
    "ivector_extractor": lambda folder: folder.ivectors,
    "frame_subsampling_factor": lambda folder: folder.options.frame_subsampling_factor,
    "word_symbol_table": lambda folder: folder.words,
    "mfcc_config": lambda folder: folder.mfcc_config,
    "model_dir": lambda folder: folder.model.parent,
    "kaldi_model_dir": lambda folder: folder.model.parent,
    "graph_dir": _graph_folder,
    "beam": lambda folder: folder.options.beam,
    "lattice_beam": lambda folder: folder.options.lattice_beam,
    "max_active": lambda folder: folder.options.max_active,
    "min_active": lambda folder: folder.options.min_active,
    "acoustic_scale": lambda folder: folder.options.acoustic_scale,
    "post_decode_acwt": _post_scale,
}
# Options that name a part of a model. Of the others some belong to commands that take no model, too.
_PLACES = {"ivector_extractor", "mfcc_config", "model_dir", "kaldi_model_dir"}


def takes_folder(arguments: list[str], options: list[str]) -> bool:
    """Whether a command has anything that a folder can give.

    Args:
        arguments, options: the names of its parameters.
    """
    return not _ARGUMENTS.keys().isdisjoint(arguments) or not _PLACES.isdisjoint(options)


def given_by(path: str, arguments: list[str], options: list[str]) -> tuple[dict[str, str], dict[str, str]]:
    """What a folder gives to a command: its arguments, and values of options.

    Args:
        path: the folder.
        arguments, options: the names of its parameters.

    Raises:
        DataError: it is no folder of a Vosk model, or has no such part.
        FormatError, ModelError: a file in it is malformed, or not supported.
    """
    from kaldi_quant.kaldi.vosk_folder import VoskFolder

    folder = VoskFolder.read(Path(path).absolute())
    places = {name: str(_ARGUMENTS[name](folder)) for name in arguments if name in _ARGUMENTS}
    # A whole folder has its own options; trainings change features only where they are asked to.
    taken = set() if "model_or_folder" in arguments else _OPTIONS.keys() & options
    taken -= {"mfcc_config"} if "vtlp" in options else set()
    values = {name: _OPTIONS[name](folder) for name in options if name in taken}
    return places, {name: str(value) for name, value in values.items() if value is not None}
