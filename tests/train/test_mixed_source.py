"""Examples and audio without labels in one training."""

from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest

from kaldi_quant.cli.main import run
from kaldi_quant.nnet.model import AcousticModel
from kaldi_quant.train.objective import Loss
from kaldi_quant.train.sources.mixed_source import MixedSource
from tests.train import test_finetuning

egs = test_finetuning.egs

MODEL = cast(AcousticModel, None)


class Named:
    """A source that gives away its name and the number of the pass."""

    def __init__(self, name: str, passes: int) -> None:
        self.name, self.passes = name, passes

    def __len__(self) -> int:
        return self.passes

    def describe(self, number: int) -> tuple[str, int]:
        return f"{self.name}{number}", 0

    def losses(self, number: int, model: AcousticModel) -> Iterator[Loss]:
        yield Loss(value=None, sums={self.name: float(number)}, weight=1.0, sequences=1, ok=True)  # type: ignore[arg-type]

    def validate(self, model: AcousticModel) -> dict[str, float]:
        return {self.name: 0.0}

    def score(self, model: AcousticModel) -> float | None:
        return float(len(self))


@pytest.mark.parametrize(
    ("passes", "expected"),
    [
        ((2, 2), "a0 b0 a1 b1"),
        ((4, 2), "a0 b0 a1 a2 b1 a3"),
        ((1, 3), "b0 a0 b1 b2"),
        ((3, 0), "a0 a1 a2"),
    ],
)
def test_passes_of_all_sources_are_spread_over_the_training(passes: tuple[int, int], expected: str) -> None:
    mixed = MixedSource([Named("a", passes[0]), Named("b", passes[1])])
    assert len(mixed) == sum(passes)
    assert " ".join(mixed.describe(number)[0] for number in range(len(mixed))) == expected
    for number in range(len(mixed)):
        (loss,) = mixed.losses(number, MODEL)
        ((name, own),) = loss.sums.items()
        assert f"{name}{own:.0f}" == mixed.describe(number)[0]


def test_the_first_source_tells_how_well_a_model_does() -> None:
    mixed = MixedSource([Named("a", 2), Named("b", 1)])
    assert mixed.validate(MODEL) == {"a": 0.0} and mixed.score(MODEL) == 2


def test_the_verb_trains_on_both(example: Path, egs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, feats = str(example / "exp/chain/tdnn1a_sp/final.mdl"), f"scp:{tmp_path}/feats.scp"
    lines = (example / "data/train_sub_hires/feats.scp").read_text().splitlines(keepends=True)[:3]
    (tmp_path / "feats.scp").write_text("".join(lines).replace(" data/", f" {example}/data/"))
    (tmp_path / "plain.yaml").write_text("default: {bits: 4, method: minmax}\n")
    common = ["qat", f"--config={tmp_path}/plain.yaml", "--num-epochs=1", "--minibatch-size=8", f"--unlabelled={feats}"]
    assert run([*common, f"--egs-dir={egs}", model, feats, str(tmp_path / "out")]) == 0
    log = capsys.readouterr().err
    assert "iteration 1 of 3, cegs.1.ark" in log and "iteration 2 of 3, 3 utterances" in log
    assert run([*common, model, feats, str(tmp_path / "none")]) == 1
    assert "--unlabelled is trained on beside --egs-dir" in capsys.readouterr().err
