"""Folders of Vosk's models: what lies where, and how they are meant to be decoded.

Source: ``Model::ConfigureV1``, ``ConfigureV2`` and ``ReadDataFiles`` in Vosk's ``src/model.cc``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kaldi_quant.errors import DataError, FormatError, ModelError, UsageError
from kaldi_quant.kaldi.endpoint import EndpointConfig, endpoint_options
from kaldi_quant.kaldi.ivectors.options import ExtractionInfo, read_extraction
from kaldi_quant.kaldi.mfcc_options import MfccOptions, read_mfcc_config
from kaldi_quant.kaldi.parse_options import Defaults, read_config

_IVECTORS = "ivector"
# Vosk sets it for all extractors.
_MAX_COUNT = 100.0
# Vosk 0.3.45's own default, as its partial results and ends of utterances show; Kaldi's is 20.
_FRAMES_PER_CHUNK = 24
# What changes how fast or in what memory Kaldi's program decodes, and not what it finds.
_OTHERS: Defaults = {
    "prune-interval": 25,
    "beam-delta": 0.5,
    "hash-ratio": 2.0,
    "delta": 0.000976562,
    "max-mem": 50000000,
    "phone-determinize": True,
    "word-determinize": True,
    "minimize": False,
    "determinize-max-delay": 60,
    "determinize-min-chunk-size": 20,
    "extra-left-context-initial": 0,
    "debug-computation": False,
    "optimization.memory-compression-level": 1,
    "computation.debug": False,
}
# Of folders without model.conf.
_OLD = {
    "beam": 13.0,
    "max-active": 7000,
    "lattice-beam": 6.0,
    "acoustic-scale": 1.0,
    "frame-subsampling-factor": 3,
    "frames-per-chunk": _FRAMES_PER_CHUNK,
    "endpoint.silence-phones": "1:2:3:4:5:6:7:8:9:10",
    "endpoint.rule2.min-trailing-silence": 0.5,
    "endpoint.rule3.min-trailing-silence": 1.0,
    "endpoint.rule4.min-trailing-silence": 2.0,
}


@dataclass(frozen=True)
class RecogniserOptions:
    """How a recogniser decodes; Kaldi's options of ``conf/model.conf``, with its defaults.

    Attributes:
        beam: decoding beam.
        lattice_beam: what leaves the lattice.
        max_active, min_active: limits on active states.
        acoustic_scale: what log-likelihoods are multiplied by.
        frame_subsampling_factor: frames of features for one of the network's output.
        frames_per_chunk: frames of features that the network is given at once, about.
        endpoint: when an utterance has ended.
    """

    beam: float = 16.0
    lattice_beam: float = 10.0
    max_active: int = 2147483647
    min_active: int = 200
    acoustic_scale: float = 0.1
    frame_subsampling_factor: int = 1
    frames_per_chunk: int = 20
    endpoint: EndpointConfig = field(default_factory=EndpointConfig)

    def __post_init__(self) -> None:
        for name in ("beam", "lattice_beam", "acoustic_scale", "frame_subsampling_factor", "frames_per_chunk"):
            if not 0 < getattr(self, name) < float("inf"):
                raise UsageError(f"--{name.replace('_', '-')} must be positive, found {getattr(self, name)}")
        if not 0 <= self.min_active <= self.max_active:
            raise UsageError(f"--min-active must be from 0 to --max-active, found {self.min_active}")

    @classmethod
    def of(cls, values: dict[str, Any]) -> RecogniserOptions:
        """Those that options state, by Kaldi's names.

        Raises:
            UsageError: a value is impossible.
        """
        own = {name.replace("-", "_"): value for name, value in values.items() if name in _own_options()}
        return cls(**own, endpoint=EndpointConfig.of(values))


def _own_options() -> Defaults:
    default = RecogniserOptions()
    return {name.replace("_", "-"): value for name, value in vars(default).items() if name != "endpoint"}


def read_recogniser_options(path: Path) -> RecogniserOptions:
    """Reads a ``model.conf``; what it does not state has Vosk's default.

    Raises:
        FormatError: the file is missing, or a line is no option.
        UsageError: a value is impossible.
    """
    values = read_config(path, {**_own_options(), **endpoint_options(), **_OTHERS})
    try:
        return RecogniserOptions.of({"frames-per-chunk": _FRAMES_PER_CHUNK, **values})
    except UsageError as error:
        raise FormatError(str(path), None, str(error)) from error


@dataclass(frozen=True)
class VoskFolder:
    """Where the parts of a model lie; None for what is not there.

    Args:
        path: the folder.
        model: ``final.mdl``.
        mfcc_config: of the features.
        graph: ``HCLG.fst``.
        words: the symbol table.
        word_boundary: which phones begin and end words.
        lookahead: ``HCLr.fst``, ``Gr.fst`` and ``disambig_tid.int`` in the place of a graph.
        ivectors: the folder of an extractor.
        global_cmvn: statistics of online normalisation, where the network's features have it.
        options: how it is decoded.
    """

    path: Path
    model: Path
    mfcc_config: Path
    graph: Path | None
    words: Path
    word_boundary: Path | None
    lookahead: tuple[Path, Path, Path] | None
    ivectors: Path | None
    global_cmvn: Path | None
    options: RecogniserOptions

    @classmethod
    def read(cls, path: str | Path) -> VoskFolder:
        """Looks at a folder.

        Raises:
            DataError: it is no folder of a Vosk model; says what is missing.
            FormatError: its configuration is malformed.
            ModelError: the model has parts that this project does not have: filter banks or pitch as features.
        """
        root = Path(path)
        if (root / "am" / "final.mdl").is_file() and (root / "conf" / "model.conf").is_file():
            am, conf, graph, phones = root / "am", root / "conf", root / "graph", root / "graph" / "phones"
            options = read_recogniser_options(conf / "model.conf")
        elif (root / "final.mdl").is_file() and (root / "mfcc.conf").is_file():
            am = conf = graph = phones = root
            options = RecogniserOptions.of(_OLD)
        else:
            raise DataError(
                f"{root} is no folder of a Vosk model: it has neither am/final.mdl with conf/model.conf nor final.mdl "
                "with mfcc.conf"
            )
        for name, what in (("fbank.conf", "filter banks"), ("pitch.conf", "pitch")):
            if (conf / name).is_file() and not (name == "fbank.conf" and (conf / "mfcc.conf").is_file()):
                raise ModelError(f"{conf / name}: features of {what} are not supported, only MFCC")
        found = cls(
            root,
            am / "final.mdl",
            conf / "mfcc.conf",
            _file(graph / "HCLG.fst"),
            graph / "words.txt",
            _file(phones / "word_boundary.int"),
            _lookahead(graph),
            root / _IVECTORS if (root / _IVECTORS / "final.ie").is_file() else None,
            _file(am / "global_cmvn.stats"),
            options,
        )
        if not found.mfcc_config.is_file():
            raise DataError(f"{root}: there is no {found.mfcc_config.relative_to(root)}, which says what features are")
        if found.graph is None and found.lookahead is None:
            raise DataError(f"{root}: there is no {(graph / 'HCLG.fst').relative_to(root)}, nor HCLr.fst with Gr.fst")
        if not found.words.is_file():
            raise DataError(f"{root}: there is no {found.words.relative_to(root)}")
        return found

    def composed_graph(self) -> Path:
        """Its ``HCLG.fst``.

        Raises:
            ModelError: it has a look-ahead graph.
        """
        if self.graph is None:
            raise ModelError(
                f"{self.path} has a look-ahead graph, HCLr.fst with Gr.fst, which must be composed first, once: "
                f"kaldi-quant compose-graph --vosk-model {self.path}"
            )
        return self.graph

    def lookahead_graph(self) -> tuple[Path, Path, Path]:
        """Its ``HCLr.fst``, ``Gr.fst`` and ``disambig_tid.int``.

        Raises:
            DataError: it has none.
        """
        if self.lookahead is None:
            raise DataError(f"{self.path} has no look-ahead graph: HCLr.fst, Gr.fst and disambig_tid.int")
        return self.lookahead

    def mfcc_options(self) -> MfccOptions:
        """What its features are.

        Raises:
            FormatError: the configuration is malformed.
        """
        return read_mfcc_config(self.mfcc_config)

    def extraction(self) -> ExtractionInfo | None:
        """Its extractor of i-vectors, as Vosk uses it; None where there is none.

        Raises:
            DataError, FormatError: its files are broken.
        """
        return None if self.ivectors is None else extraction_at(self.ivectors)


def _file(path: Path) -> Path | None:
    return path if path.is_file() else None


def _lookahead(graph: Path) -> tuple[Path, Path, Path] | None:
    files = tuple(graph / name for name in ("HCLr.fst", "Gr.fst", "disambig_tid.int"))
    return (files[0], files[1], files[2]) if all(path.is_file() for path in files) else None


def extraction_at(path: Path) -> ExtractionInfo:
    """Reads an extractor of i-vectors as it is used where it lies: that of a Vosk folder as Vosk does.

    Args:
        path: as for ``read_extraction``.

    Raises:
        DataError, FormatError, UsageError: as ``read_extraction``.
    """
    info = read_extraction(path)
    is_vosks = path.is_dir() and path.name == _IVECTORS and is_vosk_folder(path.parent)
    return info.with_options(max_count=_MAX_COUNT) if is_vosks else info


def is_vosk_folder(path: Path) -> bool:
    """Whether a folder is laid out as Vosk's are."""
    return (path / "am" / "final.mdl").is_file() or all((path / name).is_file() for name in ("final.mdl", "mfcc.conf"))
