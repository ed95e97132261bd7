"""How much of a table is calibrated on."""

from pathlib import Path

import kaldiio
import numpy as np
import pytest

from kaldi_quant.cli.calibration_amount import AmountArguments
from kaldi_quant.cli.inference_options import InferenceArguments
from kaldi_quant.cli.options import arguments_of
from kaldi_quant.cli.quantize import command
from kaldi_quant.cli.recipes.passed_options import parsed
from kaldi_quant.kaldi.model import read_model

MODEL = Path(__file__).resolve().parents[2] / "egs/alphadigits/exp/chain/tdnn1a_sp/final.mdl"


@pytest.mark.parametrize("table", ["ark:{}/m.ark", "scp:{}/m.scp"])
@pytest.mark.parametrize("wanted", [1, 3, 5, 11, 40])
def test_so_many_utterances_are_taken_of_either_kind_of_table(table: str, wanted: int, tmp_path: Path) -> None:
    model = read_model(str(MODEL))
    feats = {f"u{n:02}": np.zeros((9, model.nnet.input_dim("input")), np.float32) for n in range(23)}
    kaldiio.save_ark(str(tmp_path / "m.ark"), feats, scp=str(tmp_path / "m.scp"))
    features = table.format(tmp_path)
    inference = arguments_of(InferenceArguments, parsed(command, [str(MODEL), features, str(tmp_path / "out")]))
    data = AmountArguments(wanted, 0).of_table(model, features, inference)
    assert len(data.units) == min(wanted, 23)
    if features.startswith("scp"):
        assert data.names == [list(feats)[n * 23 // len(data.units)] for n in range(len(data.units))]
