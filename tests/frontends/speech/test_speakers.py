"""What a speaker says, one utterance behind the other."""

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("soundfile", reason="KALDI_QUANT_EXTRAS=audio bash tests/run.sh")
pytest.importorskip("soxr", reason="KALDI_QUANT_EXTRAS=audio bash tests/run.sh")

from kaldi_quant.frontends.speech.speakers import Speakers
from kaldi_quant.frontends.speech.speech import Speech
from kaldi_quant.frontends.speech.table import Utterance
from tests.frontends.enhancement.data.toy_speech import RATE, write


def test_utterances_follow_each_other(tmp_path: Path) -> None:
    wave = np.arange(900, dtype=np.float32) / 1000
    path = write(tmp_path / "all.wav", wave)
    spoken = [("a", 0), ("b", 100), ("a", 200), ("a", 300), ("b", 400)]
    utterances = [Utterance(f"{who}{start}", who, path, start, 100, "", None, None, "") for who, start in spoken]
    speakers = Speakers(Speech(utterances, RATE))
    assert speakers.places == {"a": [0, 2, 3], "b": [1, 4]}
    parts = {start: wave[start : start + 100] for _, start in spoken}
    assert np.array_equal(speakers.said(2, 150), np.concatenate([parts[200], parts[300][:50]]))
    assert np.array_equal(speakers.said(3, 150, 0.25), np.concatenate([parts[300][25:], parts[0][:75]]))
    # Who has no more to say begins as late as the length allows, and says everything once.
    assert np.array_equal(speakers.said(1, 150, 0.9), np.concatenate([parts[100][50:], parts[400]]))
    assert np.array_equal(speakers.said(4, 500, 0.9), np.concatenate([parts[400], parts[100]]))
    assert [part[0] for part in speakers.speech.others("a")] == [parts[100][0], parts[400][0]]
    assert len(speakers.speech.others("a", "b")) == 5
