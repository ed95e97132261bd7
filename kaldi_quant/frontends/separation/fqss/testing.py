"""What val.py and infer.py do: scores of a test set, and the sources of a recording."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from kaldi_quant.errors import DataError, UsageError
from kaldi_quant.frontends.separation.chunks import Chunks
from kaldi_quant.frontends.separation.data import Mixture
from kaldi_quant.frontends.separation.data.normalization import statistics
from kaldi_quant.frontends.separation.fqss.data import read_test
from kaldi_quant.frontends.separation.fqss.models import read_model
from kaldi_quant.frontends.separation.fqss.plot import plot_waveform
from kaldi_quant.frontends.separation.fqss.settings import FqssSettings
from kaldi_quant.frontends.separation.fqss.systems import Chosen
from kaldi_quant.frontends.separation.scores.measured import SourceValues, source_values
from kaldi_quant.frontends.separation.separators import Separator
from kaldi_quant.frontends.signals.audio import read_channels
from kaldi_quant.frontends.signals.stft import Array
from kaldi_quant.frontends.signals.wave_files import peak_normalized, write_wav
from kaldi_quant.metrics.known import NSDR, SDR, SDR_V4, SI_SDR, SI_SDR_IMPROVEMENT, STOI

_KEY = "model_cfg, model_path"
#: Of speech, by the names under which they are printed, with their decimals.
_SPEECH = {"SI-SDR": (SI_SDR, 2), "SI-SDR-imp": (SI_SDR_IMPROVEMENT, 2), "SDR": (SDR, 2), "STOI": (STOI, 3)}


def separator_of(settings: FqssSettings, chosen: Chosen, device: str = "cpu") -> Separator:
    """The network that ``model_path`` names.

    Args:
        settings: of a file.
        chosen: the network that they mean.
        device: where a float network computes; one in integers does so on the CPU.

    Raises:
        KaldiQuantError: it is missing, broken, or another one.
    """
    model = read_model(settings.model_cfg.model_path, chosen, _KEY)
    if settings.model_cfg.quantization.qat and model.quantized is None:
        raise UsageError(f"{model.path} is a float network, and qat is True: give the quantized one under {_KEY}")
    place = torch.device(device if model.quantized is None else "cpu")
    network = model.network.eval().to(place)

    def run(mixtures: Tensor) -> Tensor:
        return network(mixtures.to(place)).cpu()

    return Separator(chosen.name, chosen.kind, run, model.path)


def chunks_of(settings: FqssSettings, chosen: Chosen) -> Chunks | None:
    """How long recordings are cut; None for not at all."""
    testing = settings.testing_cfg
    if not testing.segment_samples:
        return None
    return Chunks(testing.segment_samples / chosen.kind.rate, testing.overlap)


def validate(settings: FqssSettings, chosen: Chosen, device: str = "cpu") -> str:
    """The line of scores of the test set.

    For speech the means of SI-SDR, of its improvement, of SDR and STOI; for music SDR, or NSDR, of all stems and each.

    Args:
        settings: of a file.
        chosen: the network that they mean.
        device: as of ``separator_of``.

    Raises:
        KaldiQuantError: the data or the network cannot be used.
    """
    separator, chunks = separator_of(settings, chosen, device), chunks_of(settings, chosen)
    test = read_test(settings, chosen)
    separated: dict[str, Array] = {}

    def one_by_one() -> Iterator[Mixture]:
        for mixture in test.test:
            separated.clear()
            separated[mixture.name] = separator.separate(mixture.mixture, chunks)
            yield mixture

    if chosen.kind.is_ordered:
        metric = NSDR if settings.testing_cfg.NSDR else SDR_V4
        return _of_stems(source_values(one_by_one(), separated, chosen.kind, [metric])[metric.name], chosen)
    metrics = [metric for metric, _ in _SPEECH.values()]
    found = source_values(one_by_one(), separated, chosen.kind, metrics)
    scores = {
        name: (found[metric.name].score("recordings").value, digits) for name, (metric, digits) in _SPEECH.items()
    }
    return ",".join(f"{name}={value:.{digits}f}" for name, (value, digits) in scores.items())


def _of_stems(found: SourceValues, chosen: Chosen) -> str:
    name = "NSDR" if found.metric is NSDR else "SDR"
    if found.metric is NSDR:
        means = np.nanmean(np.stack(list(found.values.values())), axis=0)
        each = dict(zip(chosen.kind.sources, means.tolist(), strict=True))
    else:
        each = found.medians(chosen.kind)
    values = {name: float(np.mean(list(each.values())))} | {f"{name}_{stem.upper()}": each[stem] for stem in each}
    return ",".join(f"{key}={value:.2f}" for key, value in values.items())


def infer(
    settings: FqssSettings,
    chosen: Chosen,
    audio: Path,
    *,
    normalize: bool = False,
    plot: bool = False,
    device: str = "cpu",
) -> list[Path]:
    """Writes ``output{k}.wav`` of each source into ``work_dir``, of 16 bits, the loudest sample at full scale.

    Args:
        settings: of a file.
        chosen: the network that they mean.
        audio: the recording; it is brought to the network's rate.
        normalize: whether the network reads it with mean 0 and standard deviation 1.
        plot: whether the first source is drawn, too, as ``waveform.png``.
        device: as of ``separator_of``.

    Raises:
        KaldiQuantError: the recording or the network cannot be used.
    """
    separator = separator_of(settings, chosen, device)
    mixture = read_channels(audio, chosen.kind.rate)
    if not mixture.size:
        raise DataError(f"{audio} has no samples")
    if len(mixture) != chosen.kind.channels:
        raise DataError(f"{audio} has {len(mixture)} channels, expected {chosen.kind.channels} for {chosen.name}")
    mean, deviation = statistics(mixture) if normalize else (0.0, 1.0)
    standard = ((mixture - mean) / deviation).astype(np.float32)
    sources = separator.separate(standard, chunks_of(settings, chosen)) * np.float32(deviation) + np.float32(mean)
    work, found = Path(settings.work_dir), []
    for number, source in enumerate(sources):
        found.append(work / f"output{number}.wav")
        loudest = peak_normalized(source)
        write_wav(found[-1], loudest[0] if len(loudest) == 1 else loudest.T, chosen.kind.rate)
    if plot:
        found.append(work / "waveform.png")
        plot_waveform(found[-1], sources[0], chosen.kind.rate)
    return found
