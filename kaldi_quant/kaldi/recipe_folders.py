"""The folders that a recipe works with, looked at before any work begins."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from kaldi_quant.errors import DataError
from kaldi_quant.kaldi.compatibility import (
    check_examples,
    check_graph_folder,
    check_network,
    check_phones,
    check_same_pdfs,
    check_tree,
    fitting_features,
)
from kaldi_quant.kaldi.frame_subsampling import folder_around
from kaldi_quant.kaldi.ivector_folder import IvectorFolder, check_ivectors, ivector_id
from kaldi_quant.kaldi.mfcc_options import MfccOptions, read_mfcc_config
from kaldi_quant.kaldi.model import Model, read_model
from kaldi_quant.kaldi.tables import read_matrices
from kaldi_quant.kaldi.transition_model import read_transition_model
from kaldi_quant.kaldi.waves import read_waves

# What turns the features of a data folder into the network's input, whose width then is another one.
_TRANSFORMS = ("delta_opts", "splice_opts", "final.mat")
# Options of compute-mfcc-feats without which the same audio gives the same kind of features.
_HARMLESS = ("allow_downsample", "allow_upsample", "channel", "dither", "max_feature_vectors", "min_duration")


@dataclass(frozen=True)
class RecipeFolders:
    """What is to be used together; None for what is not used.

    Args:
        model: the file of the model that is decoded or trained, such as ``exp/chain/tdnn1a_sp/final.mdl``.
        transitions: of the model that decodes the log-likelihoods, if it is another file.
        graph: with ``HCLG.fst``.
        data: data folders whose ``feats.scp`` or ``wav.scp`` the model gets.
        ivectors: their folders of online i-vectors, in the same order.
        lang: with the model's phones.
        egs: examples for it.
        tree: the tree that is used with it, beside its own one.
        mfcc_config: what makes features where a data folder has none.
        allow_pipes: whether commands in scp files run.
    """

    model: Path
    transitions: Path | None = None
    graph: Path | None = None
    data: tuple[Path, ...] = ()
    ivectors: tuple[Path, ...] = ()
    lang: Path | None = None
    egs: Path | None = None
    tree: Path | None = None
    mfcc_config: Path | None = None
    allow_pipes: bool = False

    def check(self) -> None:
        """Refuses what does not belong together.

        Raises:
            KaldiQuantError: one sentence about the first mismatch.
        """
        model = read_model(self.model)
        folder = self.model.parent
        check_network(model)
        if model.transition_model is not None:
            for tree in (folder / "tree", self.tree):
                if tree is not None:
                    check_tree(tree, model.transition_model, model.path)
            if self.transitions is not None:
                decoding = read_transition_model(self.transitions)
                check_same_pdfs(model.transition_model, model.path, decoding, str(self.transitions))
            if self.graph is not None:
                check_graph_folder(self.graph, model.transition_model, model.path)
        if self.lang is not None:
            check_phones(folder / "phones.txt", self.lang / "phones.txt")
            if self.graph is not None:
                check_phones(self.graph / "phones.txt", self.lang / "phones.txt")
        if self.egs is not None:
            check_examples(self.egs, model)
        for path in self.ivectors:
            self._check_ivectors(IvectorFolder.read(path), model)
        for data in self.data:
            self._check_data(data, model)

    def _check_ivectors(self, ivectors: IvectorFolder, model: Model) -> None:
        folder, dim = self.model.parent, model.nnet.input_dim("ivector")
        if not dim:
            return
        check_ivectors(ivector_id(folder), str(folder), ivectors.path)
        _, first = next(iter(read_matrices(ivectors.rspecifier, self.allow_pipes)))
        if first.shape[1] != dim:
            raise DataError(
                f"the i-vectors in {ivectors.path} have {first.shape[1]} columns, and {model.path} needs {dim}"
            )

    def _check_data(self, data: Path, model: Model) -> None:
        """The features of a data folder, or what will be made of its audio."""
        scp, dim = data / "feats.scp", model.nnet.input_dim("input")
        transformed = any((self.model.parent / name).is_file() for name in _TRANSFORMS)
        made_with = data / "conf" / "mfcc.conf"
        if scp.is_file():
            if not transformed:
                table = f"scp:{scp}"
                next(fitting_features(read_matrices(table, self.allow_pipes), dim, str(scp), model.path), None)
            of_model = mfcc_config_of(self.model.parent)
            if of_model is not None and made_with.is_file():
                check_mfcc_configs(made_with, of_model)
            return
        if self.mfcc_config is None:
            return
        options = read_mfcc_config(self.mfcc_config)
        if options.num_ceps != dim and not transformed:
            raise DataError(
                f"{self.mfcc_config} makes features of {options.num_ceps} columns (--num-ceps), and {model.path} needs "
                f"{dim}: name the configuration of the model's features"
            )
        of_model = mfcc_config_of(self.model.parent)
        if of_model is not None:
            check_mfcc_configs(self.mfcc_config, of_model)
        self._check_audio(data / "wav.scp", options)

    def _check_audio(self, scp: Path, options: MfccOptions) -> None:
        name, wave = next(iter(read_waves(f"scp:{scp}", self.allow_pipes)))
        too_high = wave.rate > options.sample_frequency and not options.allow_downsample
        too_low = wave.rate < options.sample_frequency and not options.allow_upsample
        if too_high or too_low:
            raise DataError(
                f"the audio in {scp} is sampled at {wave.rate} Hz ({name}), and {self.mfcc_config} is for "
                f"{options.sample_frequency:g} Hz (--sample-frequency): resample the audio, or allow it with "
                f"--allow-{'down' if too_high else 'up'}sample=true"
            )


def mfcc_config_of(model_dir: Path) -> Path | None:
    """The ``mfcc.conf`` that Kaldi's online folders and Vosk keep with a model; None where there is none."""
    around = folder_around(model_dir)
    places = [model_dir / "conf" / "mfcc.conf", model_dir / "mfcc.conf"]
    # Vosk: am/final.mdl, conf/mfcc.conf and conf/model.conf. Other folders named conf belong to no model.
    if (around / "conf" / "model.conf").is_file():
        places.append(around / "conf" / "mfcc.conf")
    return next((path for path in places if path.is_file()), None)


def check_mfcc_configs(first: Path, second: Path) -> None:
    """Compares two configurations of MFCC features.

    Raises:
        DataError: they make different features.
        FormatError: one is malformed.
    """
    ours, theirs = read_mfcc_config(first), read_mfcc_config(second)
    for name in MfccOptions.__dataclass_fields__:
        pair = getattr(ours, name), getattr(theirs, name)
        if name not in _HARMLESS and pair[0] != pair[1]:
            option = f"--{name.replace('_', '-')}"
            raise DataError(f"{first} and {second} make different features: {option} is {pair[0]} and {pair[1]}")
