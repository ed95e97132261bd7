"""Vosk, which is Kaldi's own decoder in a Python package, runs models that were read and written here."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from kaldi_quant.kaldi.model import read_model

pytestmark = pytest.mark.usefixtures("vosk")

# How many utterances are compared.
WAVES = 4


def vosk_folder(folder: Path, example: Path, model: Path) -> Path:
    """A model folder as vosk wants it, around an acoustic model."""
    experiment = example / "exp/chain/tdnn1a_sp"
    for name in ("am", "conf", "graph/phones"):
        (folder / name).mkdir(parents=True)
    shutil.copy(model, folder / "am/final.mdl")
    # Without dither, whose noise would differ from one run to the next.
    options = (example / "conf/mfcc_hires.conf").read_text() + "--dither=0\n"
    (folder / "conf/mfcc.conf").write_text(options)
    graph = experiment / "graph_alphadigits"
    for name in ("HCLG.fst", "words.txt", "phones/word_boundary.int"):
        shutil.copy(graph / name, folder / "graph" / name)
    decoding = ["--min-active=200", "--max-active=7000", "--beam=15.0", "--lattice-beam=8.0", "--acoustic-scale=1.0"]
    decoding += ["--frame-subsampling-factor=3", "--endpoint.silence-phones=1:2:3:4:5"]
    (folder / "conf/model.conf").write_text("\n".join(decoding) + "\n")
    return folder


def words(folder: Path, example: Path) -> list[str]:
    """What vosk recognises in the example's wavs."""
    waves = sorted((example / "wav").glob("*.wav"))[:WAVES]
    command = [sys.executable, str(Path(__file__).parent / "vosk_words.py"), str(folder), *map(str, waves)]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout.splitlines()


@pytest.mark.parametrize("through_text", [False, True])
def test_vosk_gives_the_words_it_gave_before(example: Path, tmp_path: Path, through_text: bool) -> None:
    original = example / "exp/chain/tdnn1a_sp/final.mdl"
    written = tmp_path / "final.mdl"
    model = read_model(original)
    if through_text:
        text = tmp_path / "final.txt"
        text.write_bytes(model.getvalue(binary=False))
        model = read_model(text)
    written.write_bytes(model.getvalue())
    expected = words(vosk_folder(tmp_path / "before", example, original), example)
    assert any(expected)
    assert words(vosk_folder(tmp_path / "after", example, written), example) == expected
