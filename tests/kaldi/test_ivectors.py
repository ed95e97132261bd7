"""Online i-vectors, against ``ivector-extract-online2`` (``tests/data/ivectors/cmd.txt``), and what cannot be done."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kaldi_quant.cli.main import run
from kaldi_quant.errors import DataError, FormatError, KaldiQuantError, UsageError
from kaldi_quant.kaldi.features.online_cmvn import OnlineCmvnOptions, OnlineCmvnStream, apply_online_cmvn
from kaldi_quant.kaldi.features.speakers import read_spk2utt
from kaldi_quant.kaldi.features.splice import SpliceOptions, SpliceStream, splice
from kaldi_quant.kaldi.ivector_folder import IvectorFolder
from kaldi_quant.kaldi.ivectors.diag_gmm import pruned_posteriors, read_diag_gmm
from kaldi_quant.kaldi.ivectors.extractor import read_extractor
from kaldi_quant.kaldi.ivectors.online import OnlineIvectors, ivectors_of_utterance
from kaldi_quant.kaldi.ivectors.options import ExtractionInfo, IvectorOptions, read_extraction
from kaldi_quant.kaldi.ivectors.packed import read_symmetric
from kaldi_quant.kaldi.ivectors.statistics import conjugate_gradients
from kaldi_quant.kaldi.reader import TextReader
from kaldi_quant.kaldi.tables import RandomAccessMatrices, read_matrices

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "egs" / "alphadigits"
ONLINE = EXAMPLE / "exp" / "chain" / "tdnnf1c_sp_online"
KALDIS = ROOT / "tests" / "data" / "ivectors"
# Kaldi sums in another order; i-vectors have lengths of 3 to 20.
TOLERANCE = 1e-3
OPTIONS: dict[str, dict[str, Any]] = {
    "default": {},
    "max_count": {"max_count": 20.0},
    "greedy": {"greedy_ivector_extractor": True},
    "normalised": {"online_cmvn_iextractor": True, "ivector_period": 7},
    "pruned": {"posterior_scale": 0.3, "num_gselect": 3, "min_post": 0.1, "max_remembered_frames": 200.0},
}


@pytest.fixture(scope="module")
def info() -> ExtractionInfo:
    return read_extraction(ONLINE)


@pytest.fixture(scope="module")
def feats() -> dict[str, np.ndarray]:
    table = RandomAccessMatrices(f"scp:{EXAMPLE}/data/test_hires/feats.scp")
    return {name: table.get(name) for names in read_spk2utt(str(KALDIS / "spk2utt")).values() for name in names}


@pytest.mark.parametrize("name", OPTIONS)
def test_kaldis(info: ExtractionInfo, feats: dict[str, np.ndarray], name: str) -> None:
    kaldis = dict(read_matrices(f"ark:{KALDIS / name}.ark"))
    changed = info.with_options(**OPTIONS[name])
    for utterances in read_spk2utt(str(KALDIS / "spk2utt")).values():
        state = None
        for utterance in utterances:
            rows, state = ivectors_of_utterance(changed, feats[utterance], state)
            np.testing.assert_allclose(rows, kaldis.pop(utterance), atol=TOLERANCE, rtol=0)
    assert not kaldis


@pytest.mark.parametrize("sizes", [[1], [3, 50, 2], [1000]])
def test_pieces(info: ExtractionInfo, feats: dict[str, np.ndarray], sizes: list[int]) -> None:
    """In whatever pieces features come, i-vectors are those of the whole."""
    whole = feats["test000-001"][:230]
    expected, last = ivectors_of_utterance(info, whole)
    found = OnlineIvectors(info.with_options(use_most_recent_ivector=False))
    rows, begin, turn = [], 0, 0
    while begin < len(whole):
        size = sizes[turn % len(sizes)]
        found.accept(whole[begin : begin + size])
        begin, turn = begin + size, turn + 1
        while len(rows) * info.options.ivector_period < found.frames_ready:
            rows.append(found.ivector(len(rows) * info.options.ivector_period))
    found.finish()
    while len(rows) < len(expected):
        rows.append(found.ivector(len(rows) * info.options.ivector_period))
    np.testing.assert_allclose(np.stack(rows), expected, atol=1e-4)
    np.testing.assert_allclose(found.state().statistics.linear, last.statistics.linear, atol=1e-3)


def test_the_most_recent_one(info: ExtractionInfo, feats: dict[str, np.ndarray]) -> None:
    """It is that of all frames up to the one that is asked for; asked again it stays."""
    whole = feats["test000-000"]
    every, _ = ivectors_of_utterance(replace(info, options=replace(info.options, ivector_period=1)), whole)
    recent = OnlineIvectors(info)
    recent.accept(whole)
    first = recent.ivector(0)
    np.testing.assert_allclose(first, every[0], atol=TOLERANCE)
    late = recent.ivector(100)
    np.testing.assert_array_equal(recent.ivector(50), late)
    # Fifteen steps from another start: nearly, not quite, the same.
    assert np.linalg.norm(late - every[100]) < 0.05 * np.linalg.norm(every[100])


def test_weights(info: ExtractionInfo, feats: dict[str, np.ndarray]) -> None:
    """Frames without weight are not heard; a weight may be taken back."""
    whole = feats["test001-000"][:120]
    plain, weighed, taken, rest = (OnlineIvectors(info) for _ in range(4))
    for each in (plain, weighed, taken, rest):
        each.accept(whole)
        each.finish()
    weighed.weigh(dict.fromkeys(range(len(whole)), 1.0))
    taken.weigh(dict.fromkeys(range(len(whole)), 1.0))
    last = len(whole) - 1
    np.testing.assert_array_equal(weighed.ivector(last), plain.ivector(last))
    taken.ivector(last)
    taken.weigh(dict.fromkeys(range(60), -1.0))
    rest.weigh(dict.fromkeys(range(60, len(whole)), 1.0))
    rest.ivector(last)
    taken._accumulate(last)
    heard, of_rest = taken.state().statistics, rest.state().statistics
    np.testing.assert_allclose(heard.num_frames, 6.0, atol=1e-6)
    np.testing.assert_allclose(heard.linear, of_rest.linear, atol=1e-3)


def test_memory_does_not_grow(info: ExtractionInfo) -> None:
    found = OnlineIvectors(info)
    random = np.random.default_rng(0)
    for _ in range(60):
        found.accept(random.normal(size=(100, info.feat_dim)).astype(np.float32) * 10)
        found.ivector(found.frames_ready - 1)
    assert found.frames_ready == 6000 - info.splice.right_context
    assert len(found._frames) == 0 and not found._history
    assert len(found._cmvn._sums) <= info.cmvn.cmn_window + 1  # type: ignore[arg-type]


def test_silence(info: ExtractionInfo) -> None:
    """Frames that are all alike have finite i-vectors."""
    rows, _ = ivectors_of_utterance(info, np.zeros((50, info.feat_dim), np.float32))
    assert np.isfinite(rows).all()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.zeros((0, 40), np.float32), "without frames"),
        (np.zeros((5, 13), np.float32), "features of dimension 40, found"),
        (np.full((5, 40), np.nan, np.float32), "not finite"),
    ],
)
def test_impossible_features(info: ExtractionInfo, values: np.ndarray, message: str) -> None:
    with pytest.raises(DataError, match=message):
        ivectors_of_utterance(info, values)


def test_pitch_is_left_out(info: ExtractionInfo, feats: dict[str, np.ndarray]) -> None:
    whole = feats["test000-000"][:40]
    expected, _ = ivectors_of_utterance(info, whole)
    found, _ = ivectors_of_utterance(info, np.pad(whole, ((0, 0), (0, 3)), constant_values=7))
    np.testing.assert_array_equal(found, expected)


def test_posteriors() -> None:
    """Of the most probable ones few are kept, and they sum to one."""
    likes = np.log(np.array([[0.5, 0.3, 0.15, 0.05], [0.97, 0.01, 0.01, 0.01]], np.float32))
    np.testing.assert_allclose(
        pruned_posteriors(likes, 2, np.array([0.0, 0.1])), [[0.625, 0.375, 0, 0], [1, 0, 0, 0]], atol=1e-6
    )
    np.testing.assert_allclose(pruned_posteriors(likes, 4, np.array([0.2, np.inf]))[1], [1, 0, 0, 0])


def test_conjugate_gradients() -> None:
    random = np.random.default_rng(1)
    root = random.normal(size=(8, 8))
    matrix, target = root @ root.T + np.eye(8), random.normal(size=8)
    exact = np.linalg.solve(matrix, target)
    np.testing.assert_allclose(conjugate_gradients(matrix, target, np.zeros(8), 15), exact, atol=1e-8)
    rough = conjugate_gradients(matrix, target, np.zeros(8), 2)
    assert 1e-3 < np.linalg.norm(rough - exact) < np.linalg.norm(exact)
    np.testing.assert_allclose(conjugate_gradients(matrix, target, exact, 3), exact)


def test_streams_of_features() -> None:
    """Normalised and spliced piece by piece, features are those of the whole."""
    random = np.random.default_rng(2)
    values = random.normal(size=(57, 4)).astype(np.float32)
    stats = np.array([[1.0, 2, 3, 4, 50], [60.0, 60, 60, 60, 0]])
    for options in (OnlineCmvnOptions(cmn_window=10), OnlineCmvnOptions(norm_vars=True, global_frames=7)):
        cmvn, spliced = OnlineCmvnStream(stats, stats * 2, options), SpliceStream(SpliceOptions(3, 2))
        pieces = [cmvn.push(piece) for piece in np.array_split(values, 9)]
        expected = apply_online_cmvn(values, stats, stats * 2, options)
        np.testing.assert_array_equal(np.concatenate(pieces), expected)
        rows = [*(spliced.push(piece) for piece in pieces), spliced.finish()]
        np.testing.assert_array_equal(np.concatenate(rows), splice(expected, SpliceOptions(3, 2)))
    short = SpliceStream(SpliceOptions(3, 2))
    assert short.push(values[:1]).shape == (0, 24)
    np.testing.assert_array_equal(short.finish(), splice(values[:1], SpliceOptions(3, 2)))


def test_symmetric_text() -> None:
    found = read_symmetric(TextReader(b" [\n1 \n2 3 \n4 5 6 ]\n<end> ", "text"))
    np.testing.assert_array_equal(found, [[1, 2, 4], [2, 3, 5], [4, 5, 6]])
    for text in (b"[ 1 \n 2 ]", b"[ 1 \n2 x ]", b"[ 1", b"1 ]"):
        with pytest.raises(FormatError):
            read_symmetric(TextReader(text + b"\n", "text"))


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    shutil.copytree(ONLINE / "ivector_extractor", tmp_path / "ie")
    return tmp_path / "ie"


Change = Callable[[Path], object]


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda ie: (ie / "final.dubm").unlink(), DataError, "it has no final.dubm"),
        (lambda ie: (ie / "final.ie").write_bytes(b""), FormatError, "empty"),
        (lambda ie: (ie / "splice_opts").write_text("--left-context=1"), DataError, "do not fit each other"),
        (lambda ie: (ie / "final.mat").write_bytes((ie / "global_cmvn.stats").read_bytes()), DataError, "do not fit"),
        (lambda ie: (ie / "online_cmvn.conf").write_text("--cmn-windo=3"), FormatError, "online_cmvn.conf, line 1"),
        (lambda ie: shutil.copy(ie / "final.dubm", ie / "final.ie"), FormatError, "expected <IvectorExtractor>"),
    ],
)
def test_broken_folders(copied: Path, change: Change, error: type[Exception], message: str) -> None:
    change(copied)
    with pytest.raises(error, match=message):
        read_extraction(copied)


def test_configuration(copied: Path, tmp_path: Path) -> None:
    """A configuration names its files; where a folder was moved, they lie beside it."""
    names = {"lda-matrix": "final.mat", "global-cmvn-stats": "global_cmvn.stats", "diag-ubm": "final.dubm"}
    names |= {"ivector-extractor": "final.ie", "cmvn-config": "online_cmvn.conf", "splice-config": "splice.conf"}
    shutil.copy(ONLINE / "conf" / "splice.conf", copied)
    text = "".join(f"--{option}=gone/{name}\n" for option, name in names.items()) + "--max-count=75 # less\n"
    config = copied / "ivector_extractor.conf"
    config.write_text(text)
    assert read_extraction(config).options.max_count == 75
    assert read_extraction(copied).options == replace(IvectorOptions(), max_count=75.0)
    config.write_text(text.replace("--diag-ubm=gone/final.dubm\n", ""))
    with pytest.raises(DataError, match="--diag-ubm is missing"):
        read_extraction(config)
    config.write_text(text + "--ivector-period=0\n")
    with pytest.raises(UsageError, match="--ivector-period=0"):
        read_extraction(config)
    config.write_text(text.replace("final.dubm", "other.dubm"))
    with pytest.raises(DataError, match=r"other\.dubm: there is no such file"):
        read_extraction(config)


def test_text_form(copied: Path, info: ExtractionInfo) -> None:
    """A mixture in text is the same; Kaldi writes seven digits."""
    found, ubm = read_diag_gmm(ONLINE / "ivector_extractor" / "final.dubm"), info.ubm
    np.testing.assert_array_equal(found.gconsts, ubm.gconsts)

    def matrix(values: np.ndarray) -> str:
        return "[\n" + "\n".join(" ".join(f"{value:.7g}" for value in row) for row in values) + " ]\n"

    weights = " ".join(["0.03125"] * len(ubm.gconsts))
    text = f"<DiagGMM> \n<WEIGHTS>  [ {weights} ]\n<MEANS_INVVARS>  {matrix(ubm.means_invvars)}"
    (copied / "final.dubm").write_text(f"{text}<INV_VARS>  {matrix(ubm.inv_vars)}</DiagGMM> \n")
    np.testing.assert_allclose(read_diag_gmm(copied / "final.dubm").inv_vars, ubm.inv_vars, rtol=1e-6)
    assert read_extractor(ONLINE / "ivector_extractor" / "final.ie").num_gauss == 32


def test_verb(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A folder as Kaldi's script leaves it, which the other verbs read; and a table."""
    out, data = tmp_path / "ivectors", tmp_path / "data"
    data.mkdir()
    names = [name for names in read_spk2utt(str(KALDIS / "spk2utt")).values() for name in names]
    lines = (EXAMPLE / "data/test_hires/feats.scp").read_text().splitlines()
    found = [line.replace("data/", f"{EXAMPLE}/data/") for line in lines if line.split()[0] in names]
    (data / "feats.scp").write_text("\n".join(found) + "\n")
    shutil.copy(KALDIS / "spk2utt", data)
    assert run(["extract-ivectors", str(ONLINE), str(data), str(out)]) == 0
    folder = IvectorFolder.read(out)
    assert folder.period == 10
    kaldis = dict(read_matrices(f"ark:{KALDIS / 'default'}.ark"))
    for name, rows in read_matrices(folder.rspecifier):
        np.testing.assert_allclose(rows, kaldis.pop(name), atol=TOLERANCE)
    assert not kaldis
    table = tmp_path / "alone.ark"
    one = ["extract-ivectors", "--per-utterance", "--repeat=true", str(ONLINE), str(data), f"ark:{table}"]
    assert run(one) == 0
    alone = dict(read_matrices(f"ark:{table}"))
    assert alone["test000-000"].shape[0] > 200 and list(alone) == sorted(names)
    capsys.readouterr()
    assert run(["extract-ivectors", str(tmp_path), str(data), str(out)]) == 1
    assert "is no folder of an extractor" in capsys.readouterr().err
    assert run(["extract-ivectors", str(ONLINE), str(tmp_path), str(out)]) == 1
    assert "there is no feats.scp" in capsys.readouterr().err


def test_gone_utterances(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "spk2utt").write_text("a test000-000 nobody\n")
    arguments = ["extract-ivectors", f"--spk2utt=ark:{tmp_path / 'spk2utt'}", "--max-bad-share=0.6", str(ONLINE)]
    table = f"scp:{EXAMPLE}/data/test_hires/feats.scp"
    assert run([*arguments, table, f"ark:{tmp_path / 'out.ark'}"]) == 0
    assert "nobody" in capsys.readouterr().err
    assert [name for name, _ in read_matrices(f"ark:{tmp_path / 'out.ark'}")] == ["test000-000"]


def test_extreme_options() -> None:
    for values in ({"min_post": 0.5}, {"posterior_scale": 0.0}, {"max_count": -1.0}, {"num_gselect": 0}):
        with pytest.raises(KaldiQuantError):
            IvectorOptions(**values)  # type: ignore[arg-type]
