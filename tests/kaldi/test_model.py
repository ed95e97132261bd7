"""Model files: .mdl and raw, both forms, from one to the other."""

from pathlib import Path

import numpy as np
import pytest

from kaldi_quant.errors import FormatError
from kaldi_quant.kaldi.model import AmNnetSimple, read_model
from tests.references import NNET3, load

PRIORS = NNET3 / "priors_mdl" / "final.mdl"


def _parameters(path: Path) -> dict[tuple[str, str], np.ndarray]:
    components = load(path).nnet.components
    return {(name, field): values for name, part in components.items() for field, values in part.arrays()}


def test_a_mdl_has_a_transition_model_and_priors() -> None:
    model = load(PRIORS)
    assert model.transition_model is not None and model.transition_model.num_pdfs == 208
    assert isinstance(model.network, AmNnetSimple)
    assert (model.network.left_context, model.network.right_context) == (1, 1)
    assert model.priors.shape == (208,) and abs(model.priors.sum() - 1) < 1e-3
    assert model.binary and model.nnet is model.network.nnet


def test_a_raw_file_has_neither() -> None:
    model = load(NNET3 / "fast_lstm" / "final.raw")
    assert model.transition_model is None and model.priors.shape == (0,) and model.network is model.nnet


@pytest.mark.parametrize("name", ["tdnn1a_sp", "tdnnf1b_sp"])
def test_the_example_models_round_trip(example: Path, tmp_path: Path, name: str) -> None:
    path = example / "exp" / "chain" / name / "final.mdl"
    model = read_model(path)
    assert model.getvalue(binary=True) == path.read_bytes()
    text = tmp_path / "final.txt"
    text.write_bytes(model.getvalue(binary=False))
    assert read_model(text).getvalue(binary=False) == text.read_bytes()


@pytest.mark.parametrize("name", ["tdnnf", "tdnnf_ivec", "cnn_tdnnf", "tdnn_lstm"])
def test_kaldis_own_two_forms_hold_identical_parameters(shared: Path, name: str) -> None:
    folder = shared / "parity" / name
    for path in (folder / "final.mdl", folder / "final.txt"):
        model = read_model(path)
        assert model.getvalue(model.binary) == path.read_bytes()
    # Seven digits of text do not name every float32: what both forms say is compared as text.
    assert read_model(folder / "final.mdl").getvalue(binary=False) == (folder / "final.txt").read_bytes()


@pytest.mark.parametrize("name", ["fast_lstm", "priors_mdl", "composite", "conv_offset_pairs"])
def test_both_forms_hold_identical_parameters(name: str) -> None:
    folder = NNET3 / name
    binary = _parameters(PRIORS if name == "priors_mdl" else folder / "final.raw")
    text = _parameters(folder / "final.txt")
    assert list(binary) == list(text)
    for (component, field), values in binary.items():
        statistics = field.startswith(("Stats", "ValueAvg", "DerivAvg", "OderivRms", "SelfRepairProb"))
        assert np.allclose(values, text[component, field], rtol=1e-6 if statistics else 0, atol=0)


def test_the_bare_network_of_a_mdl() -> None:
    bare = load(PRIORS).bare()
    data = bare.getvalue(binary=True)
    assert data.startswith(b"\0B<Nnet3> ")
    assert data[2:] in PRIORS.read_bytes()
    assert bare.transition_model is None


@pytest.mark.parametrize(
    ("now", "then", "sentence"),
    [
        ("<LeftContext>", "<LeftContex>", "expected <LeftContext>, found '<LeftContex>'"),
        ("<Priors>  [ ", "<Priors>  [ 0.5 ", "expected no priors or 208, one for each output, found 209"),
        ("<TransitionModel>", "<TransitionModl>", r"expected an nnet3 network \(<Nnet3>\), found '<TransitionModl>'"),
        ("</TransitionModel> ", "</TransitionModel> <Other> ", "expected an nnet3 network"),
    ],
)
def test_malformed_mdl(tmp_path: Path, now: str, then: str, sentence: str) -> None:
    text = (NNET3 / "priors_mdl" / "final.txt").read_text()
    assert now in text
    path = tmp_path / "final.mdl"
    path.write_text(text.replace(now, then, 1))
    with pytest.raises(FormatError, match=sentence):
        read_model(path)


def test_other_files_are_no_models(tmp_path: Path, example: Path) -> None:
    for other in ("tree", "graph_alphadigits/HCLG.fst", "graph_alphadigits/words.txt", "egs/info/feat_dim"):
        path = example / "exp" / "chain" / "tdnn1a_sp" / other
        with pytest.raises(FormatError, match="expected an nnet3 network"):
            read_model(path)
