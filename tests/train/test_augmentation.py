"""Features as of other speakers and through other channels."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from kaldi_quant.errors import UsageError
from kaldi_quant.kaldi.mfcc import Mfcc
from kaldi_quant.kaldi.mfcc_options import MfccOptions
from kaldi_quant.kaldi.wave_reader import WaveData
from kaldi_quant.nnet3.chain.options import ChainOptions
from kaldi_quant.nnet3.training.augmentation import POINTS, Augmentation, AugmentationOptions
from kaldi_quant.nnet3.training.chain_source import SourceOptions
from kaldi_quant.nnet3.training.finetune import TrainingData
from kaldi_quant.nnet3.training.job import JobSpecification
from kaldi_quant.train.optimizer import OptimizerOptions

RATE = 16000
HIRES = MfccOptions(num_ceps=40, num_mel_bins=40, use_energy=False, low_freq=20, high_freq=-400)
SHORT = MfccOptions(num_ceps=13, num_mel_bins=23, use_energy=True)
FLAT = np.zeros((1, POINTS))


def changed(mfcc: MfccOptions, feats: np.ndarray, factor: float, gains: np.ndarray) -> np.ndarray:
    augmentation = Augmentation(AugmentationOptions(0.1, 6, mfcc), mfcc.num_ceps)
    return augmentation.changed(torch.from_numpy(feats[None]), np.array([factor]), gains)[0].numpy()


def vowel(mfcc: MfccOptions, stretch: float, gain: float = 1.0) -> np.ndarray:
    """Features of noise with formants, all frequencies of which are multiplied by ``stretch``."""
    noise = np.fft.rfft(np.random.default_rng(0).normal(0, 1, 2 * RATE))
    frequencies = np.fft.rfftfreq(2 * RATE, 1 / RATE) / stretch
    loud = sum(np.exp(-(((frequencies - formant) / 400) ** 2)) for formant in (700, 1800, 3000))
    samples = np.fft.irfft(noise * (loud + 0.02))
    wave = WaveData((gain * 3000 / np.abs(samples).max() * samples)[None].astype(np.float32), RATE)
    return Mfcc(replace(mfcc, dither=0.0)).compute("vowel", wave)


@pytest.mark.parametrize("mfcc", [HIRES, SHORT], ids=["hires", "short"])
@pytest.mark.parametrize("stretch", [0.9, 1.1])
def test_warped_features_are_nearly_those_of_stretched_formants(mfcc: MfccOptions, stretch: float) -> None:
    own, other = vowel(mfcc, 1.0).mean(0), vowel(mfcc, stretch).mean(0)
    warped = changed(mfcc, vowel(mfcc, 1.0), 1 / stretch, FLAT).mean(0)
    own, other, warped = own[1:], other[1:], warped[1:]
    assert np.linalg.norm(warped - other) < 0.3 * np.linalg.norm(own - other)


def test_a_flat_filter_is_another_loudness() -> None:
    louder = changed(HIRES, vowel(HIRES, 1.0), 1.0, np.full((1, POINTS), 6.0))
    assert np.abs(louder - vowel(HIRES, 1.0, gain=10 ** (6 / 20))).max() < 2e-3


def test_without_warp_and_filter_features_stay() -> None:
    feats = vowel(HIRES, 1.0)
    assert np.abs(changed(HIRES, feats, 1.0, FLAT) - feats).max() < 1e-4


def test_energy_is_left_alone() -> None:
    feats = vowel(SHORT, 1.0)
    gains = np.linspace(-6, 6, POINTS)[None]
    assert np.abs(changed(SHORT, feats, 1.08, gains)[:, 0] - feats[:, 0]).max() < 1e-5


def test_sequences_differ_and_processes_agree() -> None:
    augmentation = Augmentation(AugmentationOptions(0.1, 4, HIRES), 40)
    feats = torch.from_numpy(vowel(HIRES, 1.0)).expand(5, -1, -1)
    whole = augmentation(feats, (0, 1, 2), slice(None))
    assert all(not torch.equal(whole[0], sequence) for sequence in whole[1:])
    assert not torch.equal(whole, augmentation(feats, (0, 1, 3), slice(None)))
    for rank in range(2):
        share = slice(rank, None, 2)
        assert torch.equal(augmentation(feats[share], (0, 1, 2), share), whole[share])


def test_what_is_impossible_is_refused() -> None:
    for values, sentence in (
        ((0.6, 0.0, HIRES), r"--vtlp 0.6: expected 0 to 0.5"),
        ((float("nan"), 0.0, HIRES), r"--vtlp nan: expected"),
        ((0.0, -1.0, HIRES), r"--filter-augment -1: expected 0 to 40 decibels"),
        ((0.1, 0.0, MfccOptions(htk_compat=True)), "features in HTK's order"),
    ):
        with pytest.raises(UsageError, match=sentence):
            AugmentationOptions(*values)
    with pytest.raises(UsageError, match=r"--num-ceps=40, and the model.s features have dimension 43"):
        Augmentation(AugmentationOptions(0.1, 0.0, HIRES), 43)


def test_jobs_get_it_from_their_file(tmp_path: Path) -> None:
    source = SourceOptions(augmentation=AugmentationOptions(0.1, 4.0, HIRES))
    data, optimizer = TrainingData("egs", "den.fst", 3), OptimizerOptions()
    for options in (source, SourceOptions()):
        specification = JobSpecification("0.mdl", data, ChainOptions(), options, optimizer, "cpu", False, 0, 1e-4)
        path = tmp_path / "jobs.json"
        path.write_text(json.dumps(asdict(specification)))
        assert JobSpecification.read(path) == specification
