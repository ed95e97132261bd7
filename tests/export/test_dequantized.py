"""Quantized weights in a Kaldi model: read back as written, and run by Kaldi and Vosk."""

import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from kaldi_quant.export.artefact import Artefact, load, save
from kaldi_quant.export.dequantized import dequantized_model, write_dequantized
from kaldi_quant.kaldi.component import Component
from kaldi_quant.kaldi.descriptor import NodeName
from kaldi_quant.kaldi.mfcc import Mfcc
from kaldi_quant.kaldi.mfcc_options import read_mfcc_config
from kaldi_quant.kaldi.model import AmNnetSimple, read_model
from kaldi_quant.kaldi.nnet import ComponentNode, Nnet, OutputNode
from kaldi_quant.kaldi.tables import matrix_writer
from kaldi_quant.kaldi.waves import read_waves
from kaldi_quant.nnet3.inference import Inference
from kaldi_quant.nnet3.model import AcousticModel
from kaldi_quant.nnet3.preparation.linear_components import weight_of
from kaldi_quant.nnet3.preparation.prepared import PreparedNetwork, nnet_of
from tests import test_vosk
from tests.export.quantized_examples import OPTIONS, quantized, quantized_alphadigits, rows

BITS = 4
WAVES = 12


def written(example: Path, model_path: Path, folder: Path) -> Artefact:
    """A model of alphadigits with four bits, as it is read from its file."""
    model, network = quantized_alphadigits(model_path, example / "data/train_sub_hires/feats.scp", BITS)
    path = folder / "quantized.safetensors"
    save(path, network, model, {})
    return load(path)


@pytest.fixture(scope="module")
def artefact(example: Path, tmp_path_factory: pytest.TempPathFactory) -> Artefact:
    return written(example, example / "exp/chain/tdnn1a_sp/final.mdl", tmp_path_factory.mktemp("w4"))


@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("priors_mdl", "w4"),
        ("lstm_mdl", "w8"),
        ("tdnnf_small", "w3-affine"),
        ("conv_zero_padding", "dynamic"),
        # Preparation adds sums, constants and biases to these.
        ("resnet_bypasses", "mixed"),
        ("descriptor_sum_scale_const", "w8"),
        ("scales_and_offsets", "w8"),
        ("ivector_utterance", "w8"),
    ],
)
def test_it_is_read_back_as_it_was_written(name: str, config: str, tmp_path: Path) -> None:
    model, network, utterances = quantized(name, config)
    path = write_dequantized(tmp_path / "dequantized.mdl", Artefact(network, model, {}))
    assert path == tmp_path / "dequantized.mdl"
    read = read_model(path)
    assert read.getvalue() == path.read_bytes() and read.binary
    assert type(read.network) is type(model.network) and np.array_equal(read.priors, model.priors)
    expected = rows(AcousticModel(nnet_of(network.dequantized())), utterances)
    for utterance, values in rows(AcousticModel(read.nnet), utterances).items():
        assert np.array_equal(values, expected[utterance])
    text = tmp_path / "dequantized.txt"
    text.write_bytes(read.getvalue(binary=False))
    assert list(read_model(text).nnet.components) == list(read.nnet.components)


def test_weights_lie_on_their_grids_and_the_rest_is_the_models(artefact: Artefact, example: Path) -> None:
    original = read_model(example / "exp/chain/tdnn1a_sp/final.mdl")
    found = dequantized_model(artefact.network, original)
    assert isinstance(found.network, AmNnetSimple) and isinstance(original.network, AmNnetSimple)
    assert found.transition_model is original.transition_model
    assert found.network.left_context == original.network.left_context
    for name in artefact.network.layers:
        for row in weight_of(found.nnet.components[name]):
            if name != "tdnn1.affine":  # whose columns have scales of their own
                assert len(np.unique(row)) < 2**BITS
    assert dequantized_model(artefact.network, artefact.model).getvalue() == found.getvalue()


def our_words(artefact: Artefact, example: Path, folder: Path) -> list[str]:
    """What this project recognises in the example's wavs, with the weights of ``dequantized.mdl``."""
    from kaldi_quant.decode.decoding import decode
    from kaldi_quant.decode.options import DecodeOptions, ScoreOptions
    from kaldi_quant.decode.scoring import score
    from kaldi_quant.decode.transcripts import read_transcripts

    folder.mkdir()
    mfcc = Mfcc(read_mfcc_config(example / "conf/mfcc_hires.conf"))
    waves = folder / "wav.scp"
    names = sorted(path.stem for path in (example / "wav").glob("*.wav"))[: test_vosk.WAVES]
    waves.write_text("".join(f"{name} {example}/wav/{name}.wav\n" for name in names))
    feats = [(name, mfcc.compute(name, wave)) for name, wave in read_waves(f"scp:{waves}")]
    path = write_dequantized(folder / "final.mdl", artefact)
    with matrix_writer(f"ark:{folder}/loglikes.ark") as writer:
        for name, matrix in Inference(AcousticModel(read_model(path).nnet), None, OPTIONS).compute(feats):
            writer.write(name, matrix)
    graph = example / "exp/chain/tdnn1a_sp/graph_alphadigits"
    decode(
        str(path),
        str(graph / "HCLG.fst"),
        f"ark:{folder}/loglikes.ark",
        str(graph / "words.txt"),
        str(folder / "decode"),
        # The best path lies well within a narrower beam, and the lattice of one of the wavs is large.
        DecodeOptions(backend="embedded", nj=1, lattice_beam=4.0),
    )
    score(str(example / "data/test_wav"), str(graph), str(folder / "decode"), ScoreOptions(backend="embedded"))
    # Vosk's lattices have LMWT 10 and no penalty, and it multiplies their graph costs by 0.9.
    found = read_transcripts(folder / "decode/scoring_kaldi/penalty_0.0/9.txt")
    return [" ".join(found[name]) for name in names]


@pytest.mark.usefixtures("vosk")
def test_vosk_hears_the_words_that_our_decoder_does(
    artefact: Artefact, example: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(test_vosk, "WAVES", WAVES)
    _compare_words(artefact, example, tmp_path)


@pytest.mark.usefixtures("vosk")
def test_vosk_runs_what_preparation_adds(
    example: Path, shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sums, a linear component that became affine, and a bias of its own, which is added here."""
    artefact = written(example, shared / "alphadigits/exp/chain/tdnnf1b_sp/final.mdl", tmp_path)
    nnet = nnet_of(artefact.network.host)
    added = ComponentNode("output.offset", "output.offset", NodeName("output.affine"))
    offset = Component("FixedBiasComponent", [("Bias", np.zeros(208, np.float32))])
    kept = [node for node in nnet.nodes.values() if node.name != "output"]
    nodes = [*kept, added, OutputNode("output", NodeName(added.name), "linear")]
    changed = Nnet.of_nodes(nodes, {**nnet.components, added.name: offset}, nnet.path)
    artefact.network.host = PreparedNetwork.of(changed)
    types = {component.type for component in nnet_of(artefact.network.dequantized()).components.values()}
    assert {"FixedAffineComponent", "FixedBiasComponent", "NoOpComponent"} <= types
    monkeypatch.setattr(test_vosk, "WAVES", 4)
    _compare_words(artefact, example, tmp_path)


def _compare_words(artefact: Artefact, example: Path, tmp_path: Path) -> None:
    expected = our_words(artefact, example, tmp_path / "ours")
    folder = test_vosk.vosk_folder(tmp_path / "vosk", example, tmp_path / "ours" / "final.mdl")
    found = test_vosk.words(folder, example)
    assert len(found) == test_vosk.WAVES and any(found) and found == expected


def nnet3_copy() -> str | None:
    root = os.environ.get("KALDI_ROOT", "")
    built = Path(root) / "src/nnet3bin/nnet3-am-copy"
    return str(built) if root and built.exists() else shutil.which("nnet3-am-copy")


@pytest.mark.skipif(nnet3_copy() is None, reason="no Kaldi here: KALDI_ROOT is not set")
@pytest.mark.parametrize("name", ["priors_mdl", "lstm_mdl"])
def test_kaldi_copies_it(name: str, tmp_path: Path) -> None:
    model, network, _ = quantized(name, "w4")
    path = write_dequantized(tmp_path / "dequantized.mdl", Artefact(network, model, {}))
    copied = tmp_path / "copied.mdl"
    subprocess.run([str(nnet3_copy()), "--binary=true", str(path), str(copied)], check=True, capture_output=True)
    assert copied.read_bytes() == path.read_bytes()
