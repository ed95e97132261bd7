"""Who speaks: voices of espeak-ng and flite, and in which split each is heard."""

from __future__ import annotations

from dataclasses import dataclass

ESPEAK, FLITE = "espeak-ng", "flite"


@dataclass(frozen=True)
class Speaker:
    """A voice as a person would be.

    Attributes:
        name: in tables and file names.
        split: train, dev or test.
        program: espeak-ng or flite.
        voice: its name there; of espeak-ng an accent and a variant.
        formants: a factor on all its frequencies, which makes another voice of it; 1 for the voice as it is.
    """

    name: str
    split: str
    program: str
    voice: str
    formants: float = 1.0


# Variants of espeak-ng. Two variants of different splits share less than half of the lines of their definitions, names
# left out, so that a test voice is no near copy of one in training; only aunty and f4 share more, 62 %. What sounds
# like a machine on purpose is left out.
_VARIANTS = {
    "train": (
        "Alex Alicia Andy Annie AnxiousAndy Denis Diogo Gene Gene2 Henrique Hugo Jacky Marco Mario Michael Nguyen",
        "RicishayMax Storm Tweaky aunty croak ed f1 f2 f3 grandma gustave iven iven2 iven3 iven4 john klatt",
        "klatt2 klatt3 klatt4 m1 m2 m3 m4 m8 max michel miguel norbert quincy sandro steph steph2 steph3 whisper",
    ),
    "dev": ("Lee adam belinda boris f5 grandpa m7 pedro rob travis",),
    "test": (
        "Andrea Mike anika antonio benjamin caleb david edward f4 linda m5 m6 marcelo pablo paul robert shelby",
        "victor zac",
    ),
}
# They speak with these accents in turn, most often as in America.
_ACCENTS = (
    *("en-us", "en-gb", "en-gb-x-rp", "en-us", "en-gb-scotland"),
    *("en-us-nyc", "en-gb-x-gbclan", "en-us", "en-gb-x-gbcwmd", "en-029"),
)
# Voices of flite. Three of its four are in training: they sound like people and like nothing else there.
_FLITE = {"train": ("awb", "kal16", "slt"), "dev": (), "test": ("rms",)}
# Training has more speakers than there are voices: each also with a longer and with shorter vocal tracts.
_ESPEAK_FORMANTS = {"train": (1.0, 0.88, 1.12, 1.25), "dev": (1.0,), "test": (1.0,)}
_FLITE_FORMANTS = {"train": (0.85, 0.92, 1.0, 1.08, 1.18), "dev": (1.0,), "test": (1.0,)}
# A variant's next speaker has another accent.
_ACCENT_STEP = 3


def speakers() -> list[Speaker]:
    """All of them, 219 in training, 10 in development and 20 in the test."""
    found = []
    for split, lines in _VARIANTS.items():
        for place, variant in enumerate(" ".join(lines).split()):
            for number, formants in enumerate(_ESPEAK_FORMANTS[split]):
                accent = _ACCENTS[(place + _ACCENT_STEP * number) % len(_ACCENTS)]
                found.append(_speaker(split, ESPEAK, variant, f"{accent}+{variant}", formants))
        for voice in _FLITE[split]:
            found += [_speaker(split, FLITE, voice, voice, formants) for formants in _FLITE_FORMANTS[split]]
    return found


def _speaker(split: str, program: str, short: str, voice: str, formants: float) -> Speaker:
    tract = "" if formants == 1 else f"-{round(100 * formants)}"
    return Speaker(f"{program.removesuffix('-ng')}-{short}{tract}", split, program, voice, formants)
