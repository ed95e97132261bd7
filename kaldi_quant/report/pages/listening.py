"""Recordings inside a page, beside each other: a player, a spectrogram, a few words."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from kaldi_quant.report.pages.html import heading


@dataclass(frozen=True)
class Sound:
    """What one can hear.

    Attributes:
        name: what it is, such as noisy.
        about: a few words, such as its scores; may be empty.
        audio: the content of an audio file.
        mime: its kind, such as audio/flac.
        picture: a PNG, such as its spectrogram; None without one.
    """

    name: str
    about: str
    audio: bytes
    mime: str
    picture: bytes | None = None


@dataclass(frozen=True)
class Recording:
    """One recording in several forms.

    Attributes:
        title: of the recording.
        sounds: its forms.
    """

    title: str
    sounds: Sequence[Sound]


def listening(recordings: Sequence[Recording]) -> str:
    """The recordings, one below the other, as HTML; the page has to be a document with media."""
    return "\n".join(
        f'{heading(recording.title)}<div class="sounds">{"".join(map(_sound, recording.sounds))}</div>'
        for recording in recordings
    )


def bytes_in_page(sound: Sound) -> int:
    """How many bytes of a page a sound takes, but for its words."""
    return sum(4 * (len(part) + 2) // 3 for part in (sound.audio, sound.picture or b""))


def _sound(sound: Sound) -> str:
    image = ""
    if sound.picture is not None:
        image = f'<img src="{_data("image/png", sound.picture)}" alt="spectrogram of {escape(sound.name)}" />'
    about = f"<span>{escape(sound.about)}</span>" if sound.about else ""
    player = f'<audio controls preload="none" src="{_data(sound.mime, sound.audio)}"></audio>'
    return f"<figure><figcaption><b>{escape(sound.name)}</b> {about}</figcaption>{image}{player}</figure>\n"


def _data(mime: str, content: bytes) -> str:
    return f"data:{escape(mime)};base64,{base64.b64encode(content).decode()}"
