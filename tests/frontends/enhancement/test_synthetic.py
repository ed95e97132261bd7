"""The embedded set is made: texts of one split each, the same from the same seed, and read back as it was said."""

from pathlib import Path

import numpy as np
import pytest

from kaldi_quant.errors import MissingDependencyError

pytest.importorskip("soundfile", reason="KALDI_QUANT_EXTRAS=audio bash tests/run.sh")
pytest.importorskip("soxr", reason="KALDI_QUANT_EXTRAS=audio bash tests/run.sh")

from kaldi_quant.frontends.enhancement.data import read_enhancement
from kaldi_quant.frontends.enhancement.synthetic import make
from kaldi_quant.frontends.enhancement.synthetic.texts import as_read, sentences_of, spelled
from kaldi_quant.frontends.synthetic.voices import Speaker

WORDS = Path(__file__).parents[3] / "egs" / "alphadigits" / "data" / "lang_chain" / "words.txt"


def test_no_sentence_shares_a_phrase_with_another_split() -> None:
    said = {split: set(sentences_of(split, np.random.default_rng(1))) for split in ("train", "dev", "test")}
    assert {split: len(texts) for split, texts in said.items()} == {"train": 12**4, "dev": 3**4, "test": 5**4}
    # Of what a sentence begins with and ends with, so many words tell phrases apart.
    for place in (slice(0, 2), slice(-3, None)):
        ends = {split: {tuple(text.split()[place]) for text in texts} for split, texts in said.items()}
        assert ends["test"].isdisjoint(ends["train"] | ends["dev"])


def test_letters_and_digits_are_words_of_the_recogniser() -> None:
    known = {line.split()[0] for line in WORDS.read_text().splitlines()}
    random = np.random.default_rng(1)
    said = [spelled(random) for _ in range(300)]
    assert {len(words) for words in said} == {4, 5, 6, 7}
    assert {word for words in said for word in words} == {word for word in known if word.isalpha()}
    assert as_read(("a", "three", "w")) == "A, three, W."


def test_a_set_is_made_and_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def say(speaker: Speaker, text: str, rate: int, shortest: float, longest: float) -> np.ndarray:
        return (0.1 * np.sin(np.arange(1000 + 10 * len(text)) / 9)).astype(np.float32)

    splits = ("train", "dev", "test")
    voices = [Speaker(f"{split}-{number}", split, "espeak-ng", "v") for split in splits for number in (0, 1)]
    monkeypatch.setattr(make, "say_within", say)
    monkeypatch.setattr(make, "check_programs", lambda: None)
    monkeypatch.setattr(make, "speakers", lambda: voices)
    options = make.SpeechOptions(sentences=dict.fromkeys(splits, 4), noises=("hum", "coloured"))
    seeds = {"one": 3, "again": 3, "other": 4}
    digests = [make.make_data(tmp_path / name, seed, options) for name, seed in seeds.items()]
    assert digests[0] == digests[1] != digests[2]
    tables = [(tmp_path / name / "utterances.tsv").read_text() for name in ("one", "again")]
    assert tables[0] == tables[1]
    found = read_enhancement(tmp_path / "one")
    assert (len(found.train), len(found.dev), len(found.test)) == (10, 12, 10)
    met = [(pair.noise, pair.snr) for pair in found.test]
    assert len(set(met)) == 8 and all(met.count(condition) in (1, 2) for condition in met)
    utterance = found.test.speech.utterances[0]
    exact = np.round(say(voices[4], utterance.text, 16000, 0, 0) * 32767) / 32768
    assert found.test.speech[0][: len(exact)] == pytest.approx(exact, abs=1e-7) and utterance.samples % 320 == 0


def test_without_the_programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(MissingDependencyError, match="needs the program espeak-ng: apt-get install espeak-ng flite"):
        make.make_data(tmp_path, 1)
