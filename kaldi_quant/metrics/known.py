"""The metrics of the tasks that this project compares networks on."""

from __future__ import annotations

from kaldi_quant.metrics.metric import Metric

#: Errors out of the words, or characters, of the references.
WER = Metric("WER", "%", "lower", scale=100.0, title="word error rate")
CER = Metric("CER", "%", "lower", scale=100.0, title="character error rate")
#: ITU-T P.862, in mean opinion scores: wide band (P.862.2) at 16 kHz, narrow band (P.862.1) at 8 kHz.
PESQ = Metric("PESQ", "", "higher", digits=3)
#: Narrow band at either rate, as through a telephone's handset.
PESQ_NB = Metric("PESQ-nb", "", "higher", digits=3, title="PESQ, narrow band")
#: C. Taal et al., "An Algorithm for Intelligibility Prediction of Time-Frequency Weighted Noisy Speech", 2011.
STOI = Metric("STOI", "", "higher", digits=4)
#: J. Le Roux et al., "SDR - Half-baked or Well Done?", 2019; what it is more than that of the mixture is SI-SDRi.
SI_SDR = Metric("SI-SDR", "dB", "higher")
SI_SDR_IMPROVEMENT = Metric("SI-SDRi", "dB", "higher", title="SI-SDR improvement")
#: 10 log10 Σs²/Σ(ŝ-s)², which knows of the level, too.
SNR = Metric("SNR", "dB", "higher", title="signal-to-noise ratio")
#: E. Vincent et al., "Performance measurement in blind audio source separation", 2006, as version 3 has it.
SDR = Metric("SDR", "dB", "higher", title="signal-to-distortion ratio, BSS Eval v3")
#: F.-R. Stöter et al., "The 2018 Signal Separation Evaluation Campaign", 2018.
SDR_V4 = Metric("SDR-v4", "dB", "higher", title="signal-to-distortion ratio, BSS Eval v4")
#: Y. Mitsufuji et al., "Music Demixing Challenge 2021", 2022: the SNR of all channels together.
NSDR = Metric("NSDR", "dB", "higher", title="signal-to-distortion ratio of whole tracks")
#: Of samples, whose full scale is 1.
MSE = Metric("MSE", "", "lower", digits=7, title="mean squared error")
#: Of keywords: 1 for each example that is classified rightly, 0 for each other.
ACCURACY = Metric("accuracy", "%", "higher", scale=100.0)

KNOWN = (WER, CER, PESQ, PESQ_NB, STOI, SI_SDR, SI_SDR_IMPROVEMENT, SNR, SDR, SDR_V4, NSDR, MSE, ACCURACY)


def known(name: str) -> Metric | None:
    """The metric of a name, in any case; None for one that this project does not know, which may be used as well."""
    return next((metric for metric in KNOWN if metric.name.casefold() == name.casefold()), None)
