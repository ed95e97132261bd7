"""What a recogniser can be made of, and what is said of folders that lack something."""

import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from kaldi_quant.errors import DataError, FormatError, KaldiQuantError, ModelError, UsageError
from kaldi_quant.kaldi.model import read_model
from kaldi_quant.recogniser.model import Model
from kaldi_quant.recogniser.models import KALDIS, find_parts, open_model
from tests.vosk_layout import online_folder, vosk_layout

# Begins as an integer model does, and is none.
BROKEN_INTEGERS = b"\0" * 8 + b"{"


@pytest.fixture(scope="module")
def opened(vosk_model: Path) -> Model:
    return open_model(find_parts(vosk_model))


@pytest.fixture
def kaldis(example: Path, tmp_path: Path) -> Path:
    """A copy of Kaldi's folder."""
    return shutil.copytree(online_folder(example), tmp_path / "online")


def test_vosks_folder(vosk_model: Path, opened: Model) -> None:
    parts = find_parts(vosk_model)
    assert parts.model == vosk_model / "am/final.mdl" and parts.graph == vosk_model / "graph/HCLG.fst"
    assert parts.extraction is not None and parts.extraction.options.max_count == 100
    options = opened.options
    assert (options.beam, options.lattice_beam, options.frame_subsampling_factor) == (15.0, 8.0, 3)
    assert options.endpoint.silence() == set(range(1, 11))
    assert opened.network.ivector_dim == 20 and opened.network.subsampling == 3
    assert opened.word_boundary is not None and opened.extraction is not None and opened.global_cmvn is None
    assert "eight" in opened.words.values()


def test_vosks_old_layout(example: Path, tmp_path: Path) -> None:
    """All in one folder: options are those that Vosk has for it, and the word boundary lies beside the graph."""
    folder = vosk_layout(tmp_path / "old", example, old=True)
    parts = find_parts(folder)
    assert parts.model == folder / "final.mdl" and parts.word_boundary == folder / "word_boundary.int"
    assert (parts.options.beam, parts.options.lattice_beam) == (13.0, 6.0)
    assert open_model(parts).network.subsampling == 3


def test_kaldis_folder(example: Path) -> None:
    """Options are those of recipes; the factor and the phones of silence are the folder's own."""
    folder = online_folder(example)
    parts = find_parts(folder)
    assert parts.graph == folder / "graph_alphadigits/HCLG.fst"
    assert parts.extraction is not None and parts.extraction.options.max_count == 0
    assert parts.options == replace(KALDIS, endpoint=parts.options.endpoint)
    assert parts.options.endpoint.silence() == set(range(1, 11))
    assert open_model(parts).options.frame_subsampling_factor == 3


def test_a_file_with_options(example: Path, tmp_path: Path) -> None:
    online = online_folder(example)
    model = shutil.copy(online / "final.mdl", tmp_path / "other.mdl")
    shutil.copy(online / "frame_subsampling_factor", tmp_path)
    given = (online / "graph_alphadigits", online / "conf/mfcc.conf", online / "conf/ivector_extractor.conf")
    found = open_model(find_parts(model, *given), changes={"beam": 9.0, "frames_per_chunk": 50})
    assert (found.options.beam, found.options.lattice_beam) == (9.0, KALDIS.lattice_beam)
    assert found.network.frames_per_chunk == 51 and found.extraction is not None


@pytest.mark.parametrize("layout", ["vosk", "kaldi"])
def test_an_integer_model_beside_is_taken_unless_the_float_one_is_asked_for(
    layout: str, example: Path, kaldis: Path, tmp_path: Path
) -> None:
    folder = vosk_layout(tmp_path / "vosk", example) if layout == "vosk" else kaldis
    integers = folder / ("am" if layout == "vosk" else "") / "quantized.safetensors"
    integers.write_bytes(BROKEN_INTEGERS)
    parts = find_parts(folder)
    assert parts.model == integers
    with pytest.raises(FormatError, match=r"quantized\.safetensors"):
        open_model(parts)
    assert open_model(parts, in_float=True).network.output_dim
    (integers.parent / "final.mdl").unlink()
    with pytest.raises(DataError, match=r"there is no float model .*final\.mdl beside .*quantized\.safetensors"):
        open_model(parts, in_float=True)


@pytest.mark.parametrize(
    ("removed", "sentence"),
    [
        ("final.mdl", r"is no folder of a model: it has neither final\.mdl nor quantized\.safetensors"),
        ("graph_alphadigits", r"expected one folder with HCLG\.fst, found none: name it with --graph"),
        ("conf/mfcc.conf", r"has no conf/mfcc\.conf, which says what features are: name it with --mfcc-config"),
    ],
)
def test_missing_parts_are_named(removed: str, sentence: str, kaldis: Path) -> None:
    path = kaldis / removed
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()
    with pytest.raises(DataError, match=sentence):
        find_parts(kaldis)


def test_other_places(kaldis: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"there is no .*nowhere: expected a Vosk folder, a folder with final\.mdl, or"):
        find_parts(tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"expected one folder with HCLG\.fst, found .*empty: name it with --graph"):
        find_parts(kaldis, tmp_path / "empty")
    (kaldis / "graph_other").mkdir()
    (kaldis / "graph_other/HCLG.fst").touch()
    with pytest.raises(DataError, match=r"found .*graph_alphadigits, .*graph_other: name it with --graph"):
        find_parts(kaldis)
    (kaldis / "graph_other/words.txt").unlink(missing_ok=True)
    with pytest.raises(KaldiQuantError, match=r"words\.txt"):
        open_model(find_parts(kaldis, kaldis / "graph_other"))


def test_a_vosk_folder_has_all_that_it_needs(vosk_model: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is a Vosk folder, which holds its graph, features and extractor: name none"):
        find_parts(vosk_model, graph=tmp_path)


def test_lookahead_graphs_are_to_be_composed_first(example: Path, tmp_path: Path) -> None:
    graph = vosk_layout(tmp_path, example) / "graph"
    (graph / "HCLG.fst").unlink()
    for name in ("HCLr.fst", "Gr.fst", "disambig_tid.int"):
        (graph / name).touch()
    with pytest.raises(ModelError, match=r"HCLr\.fst with Gr\.fst, .*kaldi-quant compose-graph --vosk"):
        find_parts(tmp_path)


@pytest.mark.parametrize("name", ["rescore/G.carpa", "rnnlm/final.raw"])
def test_rescoring_is_not_done(name: str, example: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = vosk_layout(tmp_path, example)
    find_parts(folder)
    assert not caplog.messages
    (folder / name).parent.mkdir()
    (folder / name).touch()
    find_parts(folder)
    assert caplog.messages == [f"{folder / name}: words are those of the first pass: rescoring is not supported"]


def test_ivectors_that_do_not_fit(vosk_model: Path) -> None:
    parts = find_parts(vosk_model)
    with pytest.raises(ModelError, match="needs i-vectors of dimension 20: name their extractor with --ivector-extr"):
        open_model(replace(parts, extraction=None))
    other = SimpleNamespace(extractor=SimpleNamespace(ivector_dim=100), folder=Path("elsewhere"))
    with pytest.raises(ModelError, match="needs i-vectors of dimension 20, and elsewhere gives 100"):
        open_model(replace(parts, extraction=other))  # type: ignore[arg-type]


def test_a_network_without_ivectors_needs_no_extractor(example: Path, vosk_model: Path) -> None:
    parts = replace(find_parts(vosk_model), model=example / "exp/chain/tdnn1a_sp/final.mdl")
    assert open_model(parts).extraction is None


def test_impossible_options_and_models(vosk_model: Path, tmp_path: Path) -> None:
    parts = find_parts(vosk_model)
    with pytest.raises(UsageError, match="--beam must be positive, found -1"):
        open_model(parts, changes={"beam": -1.0})
    raw = tmp_path / "final.raw"
    raw.write_bytes(read_model(parts.model).bare().getvalue())
    with pytest.raises(ModelError, match=r"final\.raw is a raw network: a recogniser needs its transition model"):
        open_model(replace(parts, model=raw))


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("cmvn_opts", "--norm-means=true", "normalised over a speaker's utterances"),
        ("delta_opts", "--delta-order=1", "derivatives of features"),
        ("splice_opts", "--left-context=2", "derivatives of features, or transformed ones"),
    ],
)
def test_features_that_are_not_known_while_audio_comes_in(name: str, text: str, sentence: str, kaldis: Path) -> None:
    (kaldis / name).write_text(text + "\n")
    with pytest.raises(ModelError, match=sentence):
        open_model(find_parts(kaldis))
