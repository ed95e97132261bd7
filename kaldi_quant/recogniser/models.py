"""What a recogniser can be made of: Vosk's folders, Kaldi's folders for online decoding, and single model files.

Source: Vosk's ``src/model.cc``; ``steps/online/nnet3/prepare_online_decoding.sh`` for Kaldi's folders.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from kaldi_quant.errors import DataError, ModelError, UsageError
from kaldi_quant.formats.artefact import Artefact, load
from kaldi_quant.formats.file_kind import is_artefact
from kaldi_quant.formats.names import ARTEFACT_NAME
from kaldi_quant.formats.record import subsampling_in
from kaldi_quant.heap import give_back_freed_memory
from kaldi_quant.kaldi.endpoint import EndpointConfig
from kaldi_quant.kaldi.features.matrices import read_matrix_file
from kaldi_quant.kaldi.features.online_cmvn import OnlineCmvnOptions
from kaldi_quant.kaldi.features.settings import RECORD_KEY as FEATURES_KEY
from kaldi_quant.kaldi.features.settings import FeatureSettings, settings_of_folder, settings_of_record
from kaldi_quant.kaldi.frame_subsampling import factor_of
from kaldi_quant.kaldi.ivectors.options import CONFIG_NAME, ExtractionInfo
from kaldi_quant.kaldi.mfcc_options import read_mfcc_config
from kaldi_quant.kaldi.model import Model as KaldiModel
from kaldi_quant.kaldi.model import read_model
from kaldi_quant.kaldi.text import read_text
from kaldi_quant.kaldi.text_tables import read_symbol_table
from kaldi_quant.kaldi.transition_model import TransitionModel
from kaldi_quant.kaldi.vosk_folder import RecogniserOptions, VoskFolder, extraction_at, is_vosk_folder
from kaldi_quant.kaldi.word_boundary import read_word_boundary
from kaldi_quant.nnet3.model import AcousticModel
from kaldi_quant.quant.network import QuantizedNetwork
from kaldi_quant.recogniser.model import Model
from kaldi_quant.recogniser.network import StreamingNetwork

_log = logging.getLogger(__name__)

#: As Kaldi's recipes decode chain models, where nothing else is said.
KALDIS = RecogniserOptions(beam=15.0, lattice_beam=8.0, max_active=7000, acoustic_scale=1.0)
_MODEL, _GRAPH, _MFCC = "final.mdl", "HCLG.fst", "mfcc.conf"
# Of language models with which Vosk rescores lattices.
_RESCORING = ("rescore/G.carpa", "rnnlm/final.raw")


@dataclass(frozen=True)
class ModelParts:
    """Where the parts of a recogniser lie; None for what is not there.

    Args:
        model: ``final.mdl`` or an integer model.
        mfcc_config: what its features are.
        graph: ``HCLG.fst``.
        words: the symbol table.
        word_boundary: which phones begin and end words.
        extraction: the extractor of i-vectors, as it is to be used.
        global_cmvn: statistics of online normalisation.
        options: how it decodes.
        is_vosk: whether they are a Vosk folder's: ``options`` have the model's own factor of subsampling, and nothing
            but them says what features are.
    """

    model: Path
    mfcc_config: Path
    graph: Path
    words: Path
    word_boundary: Path | None
    extraction: ExtractionInfo | None
    global_cmvn: Path | None
    options: RecogniserOptions
    is_vosk: bool


def find_parts(
    what: str | Path, graph: str | Path = "", mfcc_config: str | Path = "", ivector_extractor: str | Path = ""
) -> ModelParts:
    """Finds the parts of a recogniser.

    Args:
        what: a Vosk folder; a folder with ``final.mdl`` or an integer model; or such a file.
        graph: the folder of ``HCLG.fst``; by default within the folder, where there is one.
        mfcc_config: by default ``conf/mfcc.conf`` or ``mfcc.conf`` in the folder.
        ivector_extractor: its configuration or folder; by default that in the folder.

    Raises:
        DataError: a part is missing; says which, and how it is named.
        FormatError: a file is malformed.
        ModelError: the features are none that this project makes.
    """
    path = Path(what)
    if path.is_dir() and is_vosk_folder(path):
        return _of_vosk(path, graph, mfcc_config, ivector_extractor)
    if path.is_dir():
        model = _file(path / ARTEFACT_NAME) or _file(path / _MODEL)
        if model is None:
            raise DataError(f"{path} is no folder of a model: it has neither {_MODEL} nor {ARTEFACT_NAME}")
    elif path.is_file():
        model = path
    else:
        raise DataError(f"there is no {path}: expected a Vosk folder, a folder with {_MODEL}, or a model's file")
    folder = model.parent
    places = [Path(graph)] if graph else sorted(found.parent for found in folder.glob(f"*/{_GRAPH}"))
    if len(places) != 1 or not (places[0] / _GRAPH).is_file():
        found_text = ", ".join(map(str, places)) or "none"
        raise DataError(f"{folder}: expected one folder with {_GRAPH}, found {found_text}: name it with --graph")
    config = Path(mfcc_config) if mfcc_config else _file(folder / "conf" / _MFCC) or _file(folder / _MFCC)
    if config is None:
        raise DataError(f"{folder} has no conf/{_MFCC}, which says what features are: name it with --mfcc-config")
    extractor = Path(ivector_extractor) if ivector_extractor else _file(folder / "conf" / CONFIG_NAME)
    return ModelParts(
        model,
        config,
        places[0] / _GRAPH,
        places[0] / "words.txt",
        _file(places[0] / "phones" / "word_boundary.int"),
        None if extractor is None else extraction_at(extractor),
        _file(folder / "global_cmvn.stats") if (folder / "online_cmvn").exists() else None,
        replace(KALDIS, endpoint=EndpointConfig(silence_phones=_silence(places[0]))),
        False,
    )


def _of_vosk(path: Path, graph: str | Path, mfcc_config: str | Path, ivector_extractor: str | Path) -> ModelParts:
    folder = VoskFolder.read(path)
    if graph or mfcc_config or ivector_extractor:
        raise UsageError(f"{path} is a Vosk folder, which holds its graph, features and extractor: name none of them")
    composed = folder.composed_graph()
    for name in _RESCORING:
        if (path / name).is_file():
            _log.warning("%s: words are those of the first pass: rescoring is not supported", path / name)
    beside = folder.model.parent / ARTEFACT_NAME
    return ModelParts(
        beside if beside.is_file() else folder.model,
        folder.mfcc_config,
        composed,
        folder.words,
        folder.word_boundary,
        folder.extraction(),
        folder.global_cmvn,
        folder.options,
        True,
    )


def open_model(parts: ModelParts, in_float: bool = False, changes: Mapping[str, Any] | None = None) -> Model:
    """Reads a recogniser's parts.

    Args:
        parts: where they lie.
        in_float: the float model is taken, also where an integer one lies beside it.
        changes: fields of ``RecogniserOptions`` that are others.

    Raises:
        DataError: a file is missing, or parts do not fit each other.
        FormatError: a file is malformed.
        ModelError: the network cannot be executed, needs i-vectors that nothing extracts, or features that are not
            known while audio comes in.
        UsageError: an option is impossible.
    """
    found = _opened(parts, in_float, changes)
    # What it was made of is several times as large as what runs.
    give_back_freed_memory()
    return found


def _opened(parts: ModelParts, in_float: bool, changes: Mapping[str, Any] | None) -> Model:
    path = parts.model
    if in_float and is_artefact(str(path)):
        path = path.parent / _MODEL
        if not path.is_file():
            raise DataError(f"there is no float model {path} beside {parts.model}")
    network: AcousticModel | QuantizedNetwork
    if is_artefact(str(path)):
        artefact = load(path)
        if not isinstance(artefact, Artefact):
            raise ModelError(f"{path} is a network of torch.nn, and no acoustic model")
        network, model, factor = artefact.network, artefact.model, subsampling_in(artefact.record, str(path))
        features = artefact.record.get(FEATURES_KEY)
        settings = FeatureSettings() if features is None else settings_of_record(features, str(path))
    else:
        model = read_model(path)
        network = AcousticModel(model.nnet)
        factor = parts.options.frame_subsampling_factor if parts.is_vosk else factor_of(model)
        # Of its own folders Vosk does not look at what Kaldi's recipes say.
        settings = FeatureSettings() if parts.is_vosk else settings_of_folder(path.parent)
    _check_features(settings, path)
    options = replace(parts.options, frame_subsampling_factor=factor, **(changes or {}))
    return Model(
        read_mfcc_config(parts.mfcc_config),
        StreamingNetwork(network, factor, options.frames_per_chunk, model.priors),
        _transitions(model, path),
        parts.graph,
        read_symbol_table(parts.words),
        options,
        None if parts.word_boundary is None else read_word_boundary(parts.word_boundary),
        _extraction(parts, model, path),
        None if parts.global_cmvn is None else read_matrix_file(str(parts.global_cmvn)),
    )


def _check_features(settings: FeatureSettings, path: Path) -> None:
    """Refuses models whose features are not those that a stream has."""
    if settings.deltas is not None or settings.splice is not None or settings.lda is not None:
        raise ModelError(f"{path} wants derivatives of features, or transformed ones, which a recogniser does not make")
    if not settings.is_normalised:
        return
    options = settings.normalisation.options
    if not isinstance(options, OnlineCmvnOptions):
        raise ModelError(
            f"{path} wants features that are normalised over a speaker's utterances ({settings.normalisation.origin}), "
            "which are not known while audio comes in"
        )
    if options != OnlineCmvnOptions():
        raise ModelError(
            f"{path} wants online normalisation with options of its own, and a recogniser has Kaldi's defaults"
        )


def _transitions(model: KaldiModel, path: Path) -> TransitionModel:
    if model.transition_model is None:
        raise ModelError(f"{path} is a raw network: a recogniser needs its transition model, as a .mdl has it")
    return model.transition_model


def _extraction(parts: ModelParts, model: KaldiModel, path: Path) -> ExtractionInfo | None:
    """The extractor, where the network has i-vectors."""
    dim = model.nnet.input_dim("ivector")
    if not dim:
        return None
    if parts.extraction is None:
        raise ModelError(f"{path} needs i-vectors of dimension {dim}: name their extractor with --ivector-extractor")
    found = parts.extraction.extractor.ivector_dim
    if found != dim:
        raise ModelError(f"{path} needs i-vectors of dimension {dim}, and {parts.extraction.folder} gives {found}")
    return parts.extraction


def _silence(graph: Path) -> str:
    """Phones of silence, as a graph's folder tells them."""
    path = graph / "phones" / "silence.csl"
    return read_text(path).strip() if path.is_file() else ""


def _file(path: Path) -> Path | None:
    return path if path.is_file() else None
