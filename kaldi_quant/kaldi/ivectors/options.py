"""An extractor with all that belongs to it: its own files, and how it is used.

Source: ``OnlineIvectorExtractionConfig`` and ``OnlineIvectorExtractionInfo`` in
``src/online2/online-ivector-feature.h``; ``steps/online/nnet2/extract_ivectors_online.sh``; Vosk's ``src/model.cc``.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from kaldi_quant.errors import DataError, FormatError, UsageError
from kaldi_quant.kaldi.features.matrices import read_matrix_file
from kaldi_quant.kaldi.features.online_cmvn import OnlineCmvnOptions
from kaldi_quant.kaldi.features.splice import SpliceOptions
from kaldi_quant.kaldi.ivectors.diag_gmm import DiagGmm, read_diag_gmm
from kaldi_quant.kaldi.ivectors.extractor import IvectorExtractor, read_extractor
from kaldi_quant.kaldi.parse_options import Defaults, parse_options, read_config
from kaldi_quant.kaldi.script_file import locate
from kaldi_quant.kaldi.text import read_text

CONFIG_NAME = "ivector_extractor.conf"
_NO_OPTION = "num_cg_iters"
# The files of a folder that has no configuration, by Kaldi's options.
_NAMES = {
    "splice-config": "splice.conf",
    "cmvn-config": "online_cmvn.conf",
    "lda-matrix": "final.mat",
    "global-cmvn-stats": "global_cmvn.stats",
    "diag-ubm": "final.dubm",
    "ivector-extractor": "final.ie",
}
# A Kaldi folder of an extractor calls the splicing so.
_SPLICE_OPTS = "splice_opts"


@dataclass(frozen=True)
class IvectorOptions:
    """How i-vectors are found; Kaldi's options, with its defaults.

    Attributes:
        ivector_period: frames for which there is one i-vector.
        num_gselect: Gaussians that a frame counts for, at most.
        min_post: what is less probable than this counts nothing.
        posterior_scale: of what frames count: neighbours tell the same.
        max_count: beyond so many frames, times the scale, the prior grows with them; 0 for never.
        num_cg_iters: steps of conjugate gradients; Kaldi's programs have no option for it.
        use_most_recent_ivector: whether a frame has the i-vector of all that was heard when it is asked for.
        greedy_ivector_extractor: whether all frames that are there are heard first.
        max_remembered_frames: so many frames of a speaker's utterances go on to the next ones.
        online_cmvn_iextractor: whether features are normalised before they are accumulated, too.
    """

    ivector_period: int = 10
    num_gselect: int = 5
    min_post: float = 0.025
    posterior_scale: float = 0.1
    max_count: float = 0.0
    num_cg_iters: int = 15
    use_most_recent_ivector: bool = True
    greedy_ivector_extractor: bool = False
    max_remembered_frames: float = 1000.0
    online_cmvn_iextractor: bool = False

    def __post_init__(self) -> None:
        if self.ivector_period < 1 or self.num_gselect < 1 or self.num_cg_iters < 1:
            raise UsageError(
                f"--ivector-period={self.ivector_period} --num-gselect={self.num_gselect} "
                f"--num-cg-iters={self.num_cg_iters}: each must be 1 or more"
            )
        if not (0 <= self.min_post < 0.5 and 0 < self.posterior_scale <= 1):
            raise UsageError(
                f"--min-post={self.min_post:g} --posterior-scale={self.posterior_scale:g}: expected less than 0.5, and "
                "more than 0 up to 1"
            )
        if not (0 <= self.max_count < np.inf and 0 <= self.max_remembered_frames < np.inf):
            raise UsageError(
                f"--max-count={self.max_count:g} --max-remembered-frames={self.max_remembered_frames:g}: "
                "neither may be negative"
            )


@dataclass(frozen=True, eq=False)
class ExtractionInfo:
    """An extractor with all that belongs to it.

    Args:
        options: how i-vectors are found.
        splice: neighbours that stand beside each frame.
        cmvn: how features are normalised for posteriors.
        lda: (dim of the mixture, spliced dim) or one column more, float64.
        global_stats: (2, dim + 1) float64, of the training data.
        ubm: whose posteriors say which Gaussians a frame counts for.
        extractor: the rest.
        folder: of ``final.ie``.
        files: that were read.
    """

    options: IvectorOptions
    splice: SpliceOptions
    cmvn: OnlineCmvnOptions
    lda: np.ndarray
    global_stats: np.ndarray
    ubm: DiagGmm
    extractor: IvectorExtractor
    folder: Path
    files: tuple[Path, ...] = ()

    def __post_init__(self) -> None:
        width = 1 + self.splice.left_context + self.splice.right_context
        spliced = self.feat_dim * width
        if self.lda.shape[1] not in (spliced, spliced + 1):
            raise DataError(
                f"the files of an extractor do not fit each other: {width} frames of dimension {self.feat_dim} "
                f"(global_cmvn.stats) have {spliced} values, and final.mat takes {self.lda.shape[1]}"
            )
        if not len(self.lda) == self.ubm.dim == self.extractor.feat_dim:
            raise DataError(
                "the files of an extractor do not fit each other: features have the dimension "
                f"{len(self.lda)} in final.mat, {self.ubm.dim} in final.dubm, {self.extractor.feat_dim} in final.ie"
            )
        if len(self.ubm.gconsts) != self.extractor.num_gauss:
            raise DataError(
                f"the files of an extractor do not fit each other: final.dubm has {len(self.ubm.gconsts)} Gaussians, "
                f"final.ie {self.extractor.num_gauss}"
            )

    @property
    def feat_dim(self) -> int:
        """Of the features before splicing."""
        return int(self.global_stats.shape[1]) - 1

    def with_options(self, **changes: Any) -> ExtractionInfo:
        """The same extractor, used in another way.

        Raises:
            UsageError: a value is impossible.
        """
        return replace(self, options=replace(self.options, **changes))


def read_extraction(path: Path) -> ExtractionInfo:
    """Reads an extractor.

    Args:
        path: Kaldi's ``ivector_extractor.conf``, which names the files; or a folder that holds one, or the files of an
            extractor under Kaldi's own names, as Vosk's ``ivector`` does.

    Raises:
        DataError: a file is missing, or files do not fit each other.
        FormatError: a file is malformed.
        UsageError: an option has an impossible value.
    """
    config = path / CONFIG_NAME if path.is_dir() else path
    if path.is_dir() and not config.is_file() and (path / "conf" / CONFIG_NAME).is_file():
        config = path / "conf" / CONFIG_NAME
    if not config.is_file():
        if not path.is_dir():
            raise FormatError(str(path), None, "there is no such file: expected an extractor's configuration or folder")
        return _of_folder(path)
    return _read(read_config(config, _defaults()), config)


def _defaults() -> Defaults:
    own = {_kaldi(field.name): field.default for field in fields(IvectorOptions) if field.name != _NO_OPTION}
    return {**dict.fromkeys(_NAMES, ""), **own}


def _of_folder(folder: Path) -> ExtractionInfo:
    files = {option: str(folder / name) for option, name in _NAMES.items()}
    if not Path(files["splice-config"]).is_file() and (folder / _SPLICE_OPTS).is_file():
        files["splice-config"] = str(folder / _SPLICE_OPTS)
    missing = [Path(name).name for name in files.values() if not Path(name).is_file()]
    if missing:
        raise DataError(f"{folder} is no folder of an extractor of i-vectors: it has no {', '.join(missing)}")
    return _read(files, folder / CONFIG_NAME)


def _read(values: dict[str, Any], near: Path) -> ExtractionInfo:
    """near: the configuration; files that are not there from the current folder are looked for beside it."""
    paths = {}
    for option in _NAMES:
        if not values.get(option):
            raise DataError(f"{near}: --{option} is missing: an extractor needs all of --{', --'.join(_NAMES)}")
        paths[option] = _located(values[option], near)
        if not paths[option].is_file():
            raise DataError(f"{near}: --{option}={values[option]}: there is no such file")
    given = {field.name: values[_kaldi(field.name)] for field in fields(IvectorOptions) if _kaldi(field.name) in values}
    global_stats = read_matrix_file(str(paths["global-cmvn-stats"]))
    if len(global_stats) != 2 or not np.isfinite(global_stats).all() or global_stats[0, -1] < 1:
        raise DataError(f"{paths['global-cmvn-stats']}: expected statistics of one frame or more in two rows")
    lda = read_matrix_file(str(paths["lda-matrix"]))
    if not np.isfinite(lda).all():
        raise DataError(f"{paths['lda-matrix']}: the transform has values that are not finite")
    splice, cmvn = SpliceOptions(), OnlineCmvnOptions()
    return ExtractionInfo(
        IvectorOptions(**given),
        replace(splice, **_settings(paths["splice-config"], splice)),
        replace(cmvn, **_settings(paths["cmvn-config"], cmvn)),
        lda,
        global_stats,
        read_diag_gmm(paths["diag-ubm"]),
        read_extractor(paths["ivector-extractor"]),
        paths["ivector-extractor"].parent,
        tuple(paths.values()),
    )


def _located(name: str, config: Path) -> Path:
    """A file that a configuration names; where a folder was moved, what lies beside it under the same name."""
    found = Path(locate(name, str(config)))
    beside = [config.parent, config.parent.parent / "ivector_extractor"]
    return next((path for path in (found, *(folder / found.name for folder in beside)) if path.is_file()), found)


def _settings(path: Path, defaults: Any) -> dict[str, Any]:
    known = {_kaldi(field.name): getattr(defaults, field.name) for field in fields(defaults)}
    if path.name == _SPLICE_OPTS:
        found = parse_options(read_text(path), known, str(path)).values
    else:
        found = read_config(path, known)
    return {name.replace("-", "_"): value for name, value in found.items()}


def _kaldi(name: str) -> str:
    return name.replace("_", "-")
