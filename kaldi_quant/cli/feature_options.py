"""Options of how features become what a model takes: shared by all verbs that run networks on features."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import click

from kaldi_quant.cli.options import kaldi_bool_option
from kaldi_quant.errors import UsageError
from kaldi_quant.kaldi.companions import Companions
from kaldi_quant.kaldi.features.kinds import FEATURE_KINDS, FeatureKind
from kaldi_quant.kaldi.features.normalisation import CMVN_OPTS, NORMALISATION_NAMES, NormalisationOptions
from kaldi_quant.kaldi.features.pipeline import FeatureSources, Pipeline, make_pipeline
from kaldi_quant.kaldi.features.settings import RECORD_KEY, FeatureSettings, settings_of_folder, settings_of_record
from kaldi_quant.kaldi.frame_subsampling import folder_of

if TYPE_CHECKING:
    import numpy as np

    from kaldi_quant.kaldi.features.steps import Utterances
    from kaldi_quant.kaldi.model import Model
    from kaldi_quant.kaldi.nnet import Nnet

_log = logging.getLogger(__name__)

FEATURE_OPTIONS: tuple[Callable[..., Any], ...] = (
    click.option(
        "--cmvn", metavar="RSPECIFIER", help="Statistics that normalise the features; by default cmvn.scp beside them."
    ),
    click.option("--cmvn-opts", metavar="TEXT", help="In place of cmvn_opts in the model's folder."),
    kaldi_bool_option(
        "--online-cmvn",
        default=None,
        show_default="as the model's folder says",
        help="Normalise as apply-cmvn-online does.",
    ),
    click.option("--global-cmvn-stats", metavar="FILE", help="In place of global_cmvn.stats in the model's folder."),
    kaldi_bool_option("--ignore-cmvn", default=False, help="The features are normalised already."),
    click.option(
        "--feat-type",
        type=click.Choice(FEATURE_KINDS),
        help="raw; delta, with derivatives; lda, spliced and transformed; by default what fits the model.",
    ),
    click.option(
        "--transforms", metavar="RSPECIFIER", help="fMLLR transforms of speakers or utterances, applied at the end."
    ),
)


class FeatureArguments(Protocol):
    """The values of these options, and of two more."""

    @property
    def cmvn(self) -> str | None: ...
    @property
    def cmvn_opts(self) -> str | None: ...
    @property
    def online_cmvn(self) -> bool | None: ...
    @property
    def global_cmvn_stats(self) -> str | None: ...
    @property
    def ignore_cmvn(self) -> bool: ...
    @property
    def feat_type(self) -> FeatureKind | None: ...
    @property
    def transforms(self) -> str | None: ...
    @property
    def utt2spk(self) -> str | None: ...
    @property
    def allow_pipes(self) -> bool: ...


def feature_settings(model: str, options: NormalisationOptions | None = None) -> FeatureSettings:
    """What a model wants its features to be: an integer model tells it itself, of others their folder does.

    Args:
        model: its file.
        options: used in place of that.

    Raises:
        FormatError: a file is malformed.
        UsageError: a file is missing, or options contradict each other.
    """
    from kaldi_quant.formats.file_kind import is_artefact

    if not is_artefact(model):
        return settings_of_folder(folder_of(model), options)
    from kaldi_quant.formats.container import read_container

    record = read_container(model).content.get("record")
    if not isinstance(record, dict) or RECORD_KEY not in record:
        return settings_of_folder(folder_of(model), options)
    return settings_of_record(record[RECORD_KEY], model, options)


def feature_pipeline(model: str, rspecifier: str, arguments: FeatureArguments) -> Pipeline:
    """What is done to the features of a table before a model takes them; ``files`` of the result are all it depends on.

    Args:
        model: its file.
        rspecifier: of the features.
        arguments: the values of the options.

    Raises:
        FormatError: a file is malformed.
        UsageError: a file that is needed is missing, or options contradict each other.
    """
    sources = FeatureSources(
        arguments.cmvn,
        arguments.utt2spk,
        arguments.transforms,
        arguments.feat_type,
        arguments.ignore_cmvn,
        arguments.allow_pipes,
    )
    settings = feature_settings(model, _options(arguments))
    pipeline = make_pipeline(settings, rspecifier, sources, lambda: input_dim(model))
    if pipeline.commands:
        _log.info("the features of %s: %s", rspecifier, pipeline.describe())
    return pipeline


def check_teacher(teacher: str, model: str, arguments: FeatureArguments) -> None:
    """Refuses a teacher that wants other features than its pupil, which gets the same.

    Raises:
        UsageError: they are normalised in another way.
    """
    _check_same(
        feature_settings(model, _options(arguments)), model, feature_settings(teacher), f"the teacher {teacher}"
    )


def check_features_of_examples(egs: str, model: str, arguments: FeatureArguments | None = None) -> None:
    """Refuses examples whose features are normalised in another way than a model wants; Kaldi's say how they are.

    Args:
        egs: folder of the examples.
        model: its file.
        arguments: the values of the options.

    Raises:
        UsageError: they are.
    """
    if (Path(egs) / CMVN_OPTS).is_file():
        options = _options(arguments) if arguments is not None else None
        _check_same(feature_settings(model, options), model, settings_of_folder(Path(egs)), f"the examples in {egs}")


def _check_same(settings: FeatureSettings, model: str, others: FeatureSettings, name: str) -> None:
    if not settings.is_normalised_as(others):
        ours, theirs = (found.as_dict().get(CMVN_OPTS, "no normalisation") for found in (settings, others))
        detail = f"{ours} and {theirs}" if ours != theirs else "one of them online, or with other statistics"
        raise UsageError(f"{model} and {name} want features that are normalised in different ways: {detail}")


def without_normalisation(model: str, utterances: Utterances) -> Iterator[tuple[str, np.ndarray]]:
    """Features of the kind that a model takes, but not normalised: for what does not depend on their values, as speed.

    Args:
        model: its file.
        utterances: (name, features) pairs, features: (frames, dim) float32.
    """
    settings = feature_settings(model, NormalisationOptions("--norm-means=false", online_cmvn=False))
    return make_pipeline(settings, "ark:-", FeatureSources(), lambda: input_dim(model)).apply(utterances)


def feature_record(model: str, nnet: Nnet, arguments: FeatureArguments) -> dict[str, Any]:
    """What the record of an integer model tells of its features, so that it needs no other file.

    Args:
        model: the float model's file.
        nnet: its network.
        arguments: the values of the options; features that are normalised already are normalised later.
    """
    settings = feature_settings(model, _options(arguments)).for_dim(nnet.node_dim("input"))
    return {RECORD_KEY: settings.as_dict()}


def companions_of(model: Model, factor: int, arguments: FeatureArguments) -> Companions:
    """What belongs to a model, with the normalisation that options state in place of what its folder says.

    Args:
        model: the float model.
        factor: its frame-subsampling factor.
        arguments: the values of the options.
    """
    found, options = Companions.beside(model.path, factor), _options(arguments)
    # A configuration file that cmvn_opts names does not go where the model goes.
    if options == NormalisationOptions() and b"--config" not in found.files.get(CMVN_OPTS, b""):
        return found
    stated = feature_settings(model.path, options).contents()
    files = {name: content for name, content in found.files.items() if name not in NORMALISATION_NAMES}
    return replace(found, files=files | {name: stated[name] for name in NORMALISATION_NAMES if name in stated})


def input_dim(model: str) -> int:
    """The dimension of a model's features."""
    from kaldi_quant.formats.file_kind import is_artefact

    if is_artefact(model):
        from kaldi_quant.formats.artefact import load

        return load(model).network.host.nodes["input"].channels
    from kaldi_quant.kaldi.model import read_model

    return read_model(model).nnet.node_dim("input")


def _options(arguments: FeatureArguments) -> NormalisationOptions:
    return NormalisationOptions(arguments.cmvn_opts, arguments.online_cmvn, arguments.global_cmvn_stats)
