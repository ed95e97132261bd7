"""Folders of Vosk's models, and Kaldi's rules for the end of an utterance."""

import math
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from kaldi_quant.errors import DataError, FormatError, KaldiQuantError, ModelError, UsageError
from kaldi_quant.kaldi.endpoint import EndpointConfig, EndpointRule
from kaldi_quant.kaldi.vosk_folder import RecogniserOptions, VoskFolder, read_recogniser_options

ONLINE = Path(__file__).resolve().parents[2] / "egs/alphadigits/exp/chain/tdnnf1c_sp_online"
OPTIONS = """--min-active=200
--max-active=3000
--beam=10.0   # narrow
--lattice-beam=2.0
--acoustic-scale=1.0
--frame-subsampling-factor=3
--endpoint.silence-phones=1:2:3
--endpoint.rule2.min-trailing-silence=0.7
--optimization.memory-compression-level=1
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Vosk's layout; what is read when a folder is looked at is there, other files are empty."""
    for name in ("am/final.mdl", "graph/HCLG.fst", "graph/words.txt", "graph/phones/word_boundary.int"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf/model.conf").write_text(OPTIONS)
    shutil.copy(ONLINE / "conf/mfcc.conf", tmp_path / "conf")
    return tmp_path


def test_folder(folder: Path) -> None:
    found = VoskFolder.read(folder)
    assert found.graph == folder / "graph/HCLG.fst" and found.lookahead is None and found.extraction() is None
    assert found.mfcc_options().num_ceps == 40
    options = found.options
    assert (options.beam, options.lattice_beam, options.max_active, options.frames_per_chunk) == (10.0, 2.0, 3000, 24)
    assert options.endpoint.silence() == {1, 2, 3}
    assert options.endpoint.rule2 == EndpointRule(True, 0.7, 2.0)
    assert options.endpoint.rule5 == EndpointConfig().rule5


def test_extractor(folder: Path) -> None:
    """Vosk counts no more than 100 frames, times the scale, whatever the folder says."""
    shutil.copytree(ONLINE / "ivector_extractor", folder / "ivector")
    shutil.copy(ONLINE / "conf/splice.conf", folder / "ivector")
    info = VoskFolder.read(folder).extraction()
    assert info is not None and info.options.max_count == 100 and info.options.use_most_recent_ivector


def test_lookahead(folder: Path) -> None:
    (folder / "graph/HCLG.fst").unlink()
    with pytest.raises(DataError, match=r"no graph/HCLG\.fst, nor HCLr\.fst with Gr\.fst"):
        VoskFolder.read(folder)
    for name in ("HCLr.fst", "Gr.fst", "disambig_tid.int"):
        (folder / "graph" / name).touch()
    found = VoskFolder.read(folder)
    assert found.graph is None and found.lookahead is not None and found.lookahead[1].name == "Gr.fst"


def test_old_layout(tmp_path: Path) -> None:
    for name in ("final.mdl", "HCLG.fst", "words.txt", "word_boundary.int"):
        (tmp_path / name).touch()
    shutil.copy(ONLINE / "conf/mfcc.conf", tmp_path)
    found = VoskFolder.read(tmp_path)
    assert found.options.beam == 13 and found.options.acoustic_scale == 1 and 10 in found.options.endpoint.silence()
    assert found.word_boundary == tmp_path / "word_boundary.int"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("am/final.mdl", "is no folder of a Vosk model"),
        ("conf/mfcc.conf", r"there is no conf/mfcc\.conf"),
        ("graph/words.txt", r"there is no graph/words\.txt"),
    ],
)
def test_missing_files(folder: Path, name: str, message: str) -> None:
    (folder / name).unlink()
    with pytest.raises(DataError, match=message):
        VoskFolder.read(folder)


def test_other_features(folder: Path) -> None:
    (folder / "conf/pitch.conf").touch()
    with pytest.raises(ModelError, match="pitch"):
        VoskFolder.read(folder)


@pytest.mark.parametrize(
    "line", ["--beam=0", "--bean=3", "--beam=x", "--endpoint.silence-phones=1:x", "--min-active=-1", "beam=3"]
)
def test_impossible_options(tmp_path: Path, line: str) -> None:
    path = tmp_path / "model.conf"
    path.write_text(line + "\n")
    with pytest.raises(FormatError, match=r"model\.conf"):
        read_recogniser_options(path)


def test_rules() -> None:
    """Kaldi's: silence alone for 5 s; 0.5 s of silence behind words where a final state is near; 20 s."""
    rules = EndpointConfig()
    assert rules.has_ended(5.0, 5.0, math.inf) and not rules.has_ended(4.9, 4.9, 0.0)
    assert rules.has_ended(1.5, 0.5, 1.9) and not rules.has_ended(1.5, 0.5, 2.1) and not rules.has_ended(1.5, 0.4, 0.0)
    assert rules.has_ended(2.5, 1.0, 8.0) and not rules.has_ended(2.5, 1.0, 8.1)
    assert rules.has_ended(3.0, 2.0, math.inf) and rules.has_ended(20.0, 0.0, math.inf)
    never = replace(rules, rule5=EndpointRule(False, math.inf))
    assert not never.has_ended(30.0, 0.0, math.inf)


def test_extreme_values() -> None:
    with pytest.raises(KaldiQuantError):
        RecogniserOptions(acoustic_scale=math.inf)
    with pytest.raises(UsageError):
        EndpointConfig(rule1=EndpointRule(True, math.nan))
