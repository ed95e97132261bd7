"""What the features of a recipe's run, and what it makes of them, depend on."""

from dataclasses import replace
from pathlib import Path

from kaldi_quant.cli.forward import command as forward_verb
from kaldi_quant.cli.inference_options import InferenceArguments
from kaldi_quant.cli.options import arguments_of
from kaldi_quant.cli.recipes.ivectors import Ivectors
from kaldi_quant.cli.recipes.model_step import feature_sources
from kaldi_quant.cli.recipes.passed_options import parsed
from kaldi_quant.kaldi.table_files import TableFiles, table_files
from tests.references import NNET3

# As if no option were given.
NO_OPTIONS = arguments_of(InferenceArguments, parsed(forward_verb, ["model", "features", "log-likelihoods"]))


def test_commands_that_give_statistics_are_not_taken_for_files(example: Path, tmp_path: Path) -> None:
    model = example / "exp/chain/tdnn1a_sp/final.mdl"
    features = f"scp:{example}/data/test_hires/feats.scp"
    given = replace(NO_OPTIONS, cmvn_opts="--norm-means=true", allow_pipes=True)
    stats = tmp_path / "cmvn.scp"
    stats.write_text("s cmvn.ark:2\n")
    for line, repeatable in (("s cmvn.ark:2\n", True), ("s make-statistics |\n", False)):
        stats.write_text(line)
        options = replace(given, cmvn=f"scp:{stats}", utt2spk=f"{example}/data/test_hires/utt2spk")
        assert feature_sources(options, model, features, Ivectors()).repeatable is repeatable, line


def test_the_speakers_of_ivectors_count(tmp_path: Path) -> None:
    model = NNET3 / "ivector_utterance" / "final.raw"
    utt2spk = tmp_path / "utt2spk"
    for option in (str(utt2spk), f"ark:{utt2spk}"):
        given = replace(NO_OPTIONS, ivectors=f"ark:{tmp_path}/ivectors.ark", utt2spk=option)
        found = Ivectors.of(model, tmp_path, None, "--online-ivector-dir", given)
        assert found.files == [tmp_path / "ivectors.ark", utt2spk]


def test_commands_on_tables_are_decided_by_more_than_their_files(tmp_path: Path) -> None:
    stats, audio = tmp_path / "global.stats", tmp_path / "a.sph"
    stats.touch()
    audio.touch()
    assert table_files(f"ark:sph2pipe -f wav {audio} |") == TableFiles((audio,))
    assert table_files(f"ark:apply-cmvn {stats} scp:{tmp_path}/feats.scp ark:- |") == TableFiles((), False)
    assert table_files(f"ark:apply-cmvn {stats} ark:- ark:- |") == TableFiles((stats,))
