"""Bands whose sounds are drawn from ranges: what a network learns from and what it is measured on can differ."""

from __future__ import annotations

from dataclasses import dataclass

from kaldi_quant.frontends.signals.noise_ranges import Ranges
from kaldi_quant.registry import Registry


@dataclass(frozen=True)
class Band:
    """What songs are drawn from. Times are in s, frequencies in Hz, levels in dB.

    Args:
        tempos: beats in a minute.
        kick_ends: where the pitch of the kick ends.
        kick_starts: how many times higher it begins.
        kick_decays: the time in which it falls to 1/e.
        snare_tones: the pitch of the snare.
        snare_decays: of its noise.
        hat_lows: from where on cymbals have power.
        hat_decays: of a closed one.
        bass_falls: the power of its number by which a harmonic of the bass is weaker.
        bass_decays: of a note.
        pad_falls: as of the bass, of chords that are held.
        pluck_falls: of notes that are plucked.
        pluck_decays: of such a note.
        detunings: of the two sides of what plays chords, in cents.
        tracts: a factor on all formants of the singer: a longer or a shorter vocal tract.
        lowest_notes: of the singer, as numbers of MIDI.
        vibratos: how often the pitch of the voice swings in a second.
        depths: by up to so many cents.
        breaths: noise in the voice, relative to it.
        rt60: the reverberation time of the hall.
    """

    tempos: Ranges
    kick_ends: Ranges
    kick_starts: Ranges
    kick_decays: Ranges
    snare_tones: Ranges
    snare_decays: Ranges
    hat_lows: Ranges
    hat_decays: Ranges
    bass_falls: Ranges
    bass_decays: Ranges
    pad_falls: Ranges
    pluck_falls: Ranges
    pluck_decays: Ranges
    detunings: Ranges
    tracts: Ranges
    lowest_notes: Ranges
    vibratos: Ranges
    depths: Ranges
    breaths: Ranges
    rt60: Ranges


BANDS: Registry[Band] = Registry("band")
#: What training and development hear.
HEARD = "heard"
#: The same instruments in ranges that do not meet those of ``HEARD``.
UNHEARD = "unheard"
BANDS.add(HEARD)(
    Band(
        tempos=((78, 100), (110, 138)),
        kick_ends=((42, 50), (57, 64)),
        kick_starts=((2.5, 4),),
        kick_decays=((0.08, 0.14), (0.18, 0.26)),
        snare_tones=((150, 180), (205, 240)),
        snare_decays=((0.05, 0.09), (0.12, 0.17)),
        hat_lows=((2200, 2700), (3100, 3500)),
        hat_decays=((0.015, 0.03), (0.045, 0.06)),
        bass_falls=((0.9, 1.2), (1.6, 2.1)),
        bass_decays=((0.2, 0.4), (0.7, 1.5)),
        pad_falls=((0.9, 1.2), (1.5, 1.8)),
        pluck_falls=((0.7, 1.0), (1.4, 1.8)),
        pluck_decays=((0.12, 0.25), (0.4, 0.7)),
        detunings=((2, 5), (9, 14)),
        tracts=((0.92, 1.02), (1.14, 1.25)),
        lowest_notes=((45, 50), (54, 59)),
        vibratos=((4.4, 5.2), (5.9, 6.5)),
        depths=((15, 30), (45, 65)),
        breaths=((-40, -30),),
        rt60=((0.2, 0.4), (0.6, 0.9)),
    )
)
BANDS.add(UNHEARD)(
    Band(
        tempos=((102, 108), (140, 150)),
        kick_ends=((51, 56),),
        kick_starts=((4.1, 5),),
        kick_decays=((0.145, 0.175),),
        snare_tones=((182, 203),),
        snare_decays=((0.095, 0.115),),
        hat_lows=((2750, 3050),),
        hat_decays=((0.032, 0.043),),
        bass_falls=((1.25, 1.55),),
        bass_decays=((0.45, 0.65),),
        pad_falls=((1.25, 1.45),),
        pluck_falls=((1.05, 1.35),),
        pluck_decays=((0.27, 0.38),),
        detunings=((5.5, 8.5),),
        tracts=((1.04, 1.12),),
        lowest_notes=((51, 53),),
        vibratos=((5.3, 5.8),),
        depths=((32, 43),),
        breaths=((-29, -26),),
        rt60=((0.42, 0.58),),
    )
)
