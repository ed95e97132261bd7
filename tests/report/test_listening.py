"""A page on which one can listen: audio and pictures lie within, and nothing is loaded."""

from __future__ import annotations

import base64
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest

from kaldi_quant.metrics.known import PESQ
from kaldi_quant.report.cells import Table
from kaldi_quant.report.comparison import ComparisonOptions, compare
from kaldi_quant.report.pages.html import document
from kaldi_quant.report.pages.lines import Lines
from kaldi_quant.report.pages.listening import Recording, Sound, bytes_in_page
from kaldi_quant.report.pages.listening_page import HeardPart, TitledTable, listening_page
from kaldi_quant.report.pages.picture import picture
from tests.report.outline import Outline
from tests.report.score_folders import values, write_scores

AUDIO, IMAGE = b"fLaC\x00\x01", b"\x89PNG"


def page(tmp_path: Path) -> Outline:
    folders = [write_scores(tmp_path / name, values(loss), PESQ) for name, loss in (("float", 0.0), ("w4", 0.5))]
    sounds = [
        Sound("noisy <b>", "5 dB", AUDIO, 'audio/ogg; codecs="opus"', IMAGE),
        Sound("w4", "", AUDIO, "audio/flac"),
    ]
    part = HeardPart(
        "crn",
        compare(folders, ComparisonOptions(replications=200)),
        [TitledTable("By noise", "Means.", Table(["cell", "hum"], [["w4", "1.5"]]), is_folded=True)],
        [Lines("PESQ by ratio", "Means.", "ratio, dB", "PESQ", {"float": [(0, 1.5), (5, 2.0)], "w4": [(0, 1.4)]})],
        [Recording("S000_hum_5", sounds)],
    )
    return Outline(listening_page("Heard", "by ear", [part]))


def test_a_page_with_audio(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    found = page(tmp_path)
    sources = [attributes["src"] for tag, attributes in found.elements if "src" in attributes]
    kinds = [source.partition(",")[0] for source in sources]
    assert kinds == ["data:image/png;base64", 'data:audio/ogg; codecs="opus";base64', "data:audio/flac;base64"]
    assert [base64.b64decode(source.partition(",")[2]) for source in sources] == [IMAGE, AUDIO, AUDIO]
    policy = next(attributes["content"] for _, attributes in found.elements if "http-equiv" in attributes)
    assert policy == "default-src 'none'; style-src 'unsafe-inline'; img-src data:; media-src data:"
    assert not {"script", "link", "iframe", "object"} & set(found.tags)
    for text in ("noisy <b>", "5 dB", "S000_hum_5", "By noise", "PESQ by ratio", "What was compared"):
        assert text in found.text
    # Other pages hold no media.
    assert "media-src" not in document("", "", [])


def test_how_much_of_a_page_a_sound_takes() -> None:
    sound = Sound("a", "", bytes(3000), "audio/wav", bytes(300))
    assert bytes_in_page(sound) == pytest.approx(4400, abs=4)


def test_a_picture_by_hand() -> None:
    pytest.importorskip("matplotlib")
    content = picture(np.array([[-10.0, 0.0, 5.0], [10.0, 20.0, 0.0]]), 0.0, 10.0)
    assert content.startswith(b"\x89PNG\r\n\x1a\n") and content[12:16] == b"IHDR"
    assert struct.unpack(">II", content[16:24]) == (3, 2)
    place = content.index(b"IDAT")
    (length,) = struct.unpack(">I", content[place - 4 : place])
    rows = zlib.decompress(content[place + 4 : place + 4 + length])
    # Each row with the number of its filter before it; what is beyond the scale has the colour of its end.
    assert list(rows) == [0, 0, 0, 128, 0, 255, 255, 0]
