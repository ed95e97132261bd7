"""All folders of a recipe are compared before any work begins."""

import shutil
import wave
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from kaldi_quant.errors import DataError, KaldiQuantError
from kaldi_quant.kaldi.recipe_folders import RecipeFolders, check_mfcc_configs, mfcc_config_of
from kaldi_quant.kaldi.tables import matrix_writer
from tests.references import NNET3


@pytest.fixture
def folders(example: Path, tmp_path: Path) -> RecipeFolders:
    """A small model and the small files of a recipe around it."""
    source = example / "exp/chain/tdnn1a_sp"
    model, graph, data = (tmp_path / name for name in ("model", "graph", "data"))
    model.mkdir()
    shutil.copy(NNET3 / "lstm_mdl/final.mdl", model)
    for name in ("tree", "phones.txt"):
        shutil.copy(source / name, model)
    graph.mkdir()
    for name in ("num_pdfs", "disambig_tid.int", "phones.txt"):
        shutil.copy(source / "graph_alphadigits" / name, graph)
    data.mkdir()
    with matrix_writer(f"ark,scp:{data}/feats.ark,{data}/feats.scp") as writer:
        writer.write("utt", np.zeros((5, 20), np.float32))
    return RecipeFolders(model / "final.mdl", None, graph, (data,), lang=example / "data/lang_chain")


def _audio(data: Path, rate: int) -> None:
    (data / "feats.scp").unlink()
    with wave.open(str(data / "utt.wav"), "wb") as file:
        file.setparams((1, 2, rate, 0, "NONE", ""))
        file.writeframes(bytes(2 * rate))
    (data / "wav.scp").write_text(f"utt {data}/utt.wav\n")


def _config(path: Path, *options: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{option}\n" for option in ("--num-mel-bins=23", "--num-ceps=20", *options)))
    return path


def _refused(folders: RecipeFolders, sentence: str) -> None:
    with pytest.raises(KaldiQuantError, match=sentence):
        folders.check()


def test_what_belongs_together(folders: RecipeFolders) -> None:
    folders.check()


def test_another_graph(folders: RecipeFolders, tmp_path: Path) -> None:
    (tmp_path / "graph/num_pdfs").write_text("100\n")
    _refused(folders, "graph/num_pdfs says")


def test_another_lang(folders: RecipeFolders, tmp_path: Path) -> None:
    (tmp_path / "lang").mkdir()
    (tmp_path / "lang/phones.txt").write_text("<eps> 0\nSIL 1\n")
    _refused(
        replace(folders, lang=tmp_path / "lang"), r"model/phones.txt and .*lang/phones.txt are of different phones"
    )


def test_features_of_another_width(folders: RecipeFolders, tmp_path: Path) -> None:
    with matrix_writer(f"ark,scp:{tmp_path}/data/feats.ark,{tmp_path}/data/feats.scp") as writer:
        writer.write("utt", np.zeros((5, 13), np.float32))
    _refused(folders, r"data/feats.scp have 13 columns \(utterance utt\), and .*final.mdl needs 20")
    (tmp_path / "model/delta_opts").touch()
    folders.check()


def test_examples_with_other_ivectors(folders: RecipeFolders, tmp_path: Path) -> None:
    (tmp_path / "egs/info").mkdir(parents=True)
    (tmp_path / "egs/info/num_pdfs").write_text("100\n")
    _refused(replace(folders, egs=tmp_path / "egs"), r"egs/info/num_pdfs says 100, and .*final.mdl needs 208")


@pytest.mark.parametrize(
    ("rate", "options", "sentence"),
    [
        (16000, ["--num-ceps=13"], r"mfcc.conf makes features of 13 columns \(--num-ceps\), and .*final.mdl needs 20"),
        (8000, [], r"wav.scp is sampled at 8000 Hz \(utt\), and .*mfcc.conf is for 16000 Hz .*--allow-upsample=true"),
        (16000, ["--sample-frequency=8000"], r"sampled at 16000 Hz .* for 8000 Hz .*--allow-downsample=true"),
        (16000, [], None),
        (16000, ["--sample-frequency=8000", "--allow-downsample=true"], None),
    ],
)
def test_audio(folders: RecipeFolders, tmp_path: Path, rate: int, options: list[str], sentence: str | None) -> None:
    _audio(tmp_path / "data", rate)
    given = replace(folders, mfcc_config=_config(tmp_path / "conf/mfcc.conf", *options))
    if sentence is None:
        given.check()
    else:
        _refused(given, sentence)


def test_the_configuration_that_a_model_brings_along(folders: RecipeFolders, tmp_path: Path) -> None:
    of_model = _config(tmp_path / "model/conf/mfcc.conf", "--frame-shift=20")
    of_data = _config(tmp_path / "data/conf/mfcc.conf")
    _refused(
        folders, r"data/conf/mfcc.conf and .*model/conf/mfcc.conf make different features: --frame-shift is 10.0 and"
    )
    _config(of_data, "--frame-shift=20", "--dither=1")
    folders.check()
    assert mfcc_config_of(tmp_path / "model") == of_model


def test_vosks_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "am").mkdir()
    config = _config(tmp_path / "conf/mfcc.conf")
    assert mfcc_config_of(tmp_path / "am") is None
    (tmp_path / "conf/model.conf").touch()
    assert mfcc_config_of(tmp_path / "am") == config
    monkeypatch.chdir(tmp_path / "am")
    found = mfcc_config_of(Path())
    assert found is not None and found.samefile(config)
    (tmp_path / "am/mfcc.conf").touch()
    assert mfcc_config_of(tmp_path / "am") == tmp_path / "am/mfcc.conf"


def test_configurations_of_other_features(tmp_path: Path) -> None:
    first, second = (
        _config(tmp_path / name, option) for name, option in (("a", "--low-freq=20"), ("b", "--low-freq=40"))
    )
    with pytest.raises(DataError, match=r"--low-freq is 20.0 and 40.0"):
        check_mfcc_configs(first, second)


def test_ivectors(example: Path, tmp_path: Path, folders: RecipeFolders) -> None:
    """A model with i-vectors, beside those of two extractors."""
    shutil.copy(NNET3 / "ivector_online/final.raw", tmp_path / "model/final.raw")
    (tmp_path / "model/final.ie.id").write_text("right\n")
    given = RecipeFolders(tmp_path / "model/final.raw")
    for name, identity, width in (("right", "right", 10), ("wrong", "wrong", 10), ("narrow", "right", 7)):
        folder = tmp_path / name
        folder.mkdir()
        with matrix_writer(f"ark,scp:{folder}/ivectors.ark,{folder}/ivector_online.scp") as writer:
            writer.write("utt", np.zeros((1, width), np.float32))
        (folder / "ivector_period").write_text("10\n")
        (folder / "final.ie.id").write_text(f"{identity}\n")
    replace(given, ivectors=(tmp_path / "right",)).check()
    _refused(replace(given, ivectors=(tmp_path / "wrong",)), "wrong are of the extractor 'wrong'")
    _refused(replace(given, ivectors=(tmp_path / "narrow",)), "narrow have 7 columns, and .*final.raw needs 10")
