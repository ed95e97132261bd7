"""Folders with scores.json side by side: rows, direction, what is refused, all forms of output."""

import json
import re
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from kaldi_quant.decode.error_rate import CHARACTERS
from kaldi_quant.errors import DataError, FormatError, KaldiQuantError, UsageError
from kaldi_quant.metrics.known import ACCURACY, PESQ, SI_SDR, WER
from kaldi_quant.metrics.metric import Metric
from kaldi_quant.metrics.score import Score
from kaldi_quant.metrics.score_file import read_score, write_score
from kaldi_quant.report.as_json import as_json
from kaldi_quant.report.comparison import Comparison, ComparisonOptions, compare
from kaldi_quant.report.files.decode_folder import FixedPoint
from kaldi_quant.report.markdown import as_markdown
from kaldi_quant.report.notes import notes
from kaldi_quant.report.significance.bootstrap import Interval
from kaldi_quant.report.text import as_text, trainings_as_text
from kaldi_quant.report.trainings import compare_trainings
from kaldi_quant.report.verdict import lines
from tests.report.decode_folders import disturbed, real, write_folder
from tests.report.score_folders import values, write_scores

OPTIONS = ComparisonOptions(replications=1000)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """SI-SDR of a float network and of quantized ones that lose much, nothing, a little by chance, or gain."""
    base = tmp_path_factory.mktemp("scores")
    record = {"artefact_bytes": 1000, "float_bytes": 1000, "bits_per_weight": 32.0}
    write_scores(base / "float", values(), record=record)
    write_scores(base / "same", values(), record=record | {"artefact_bytes": 250, "bits_per_weight": 8.0})
    write_scores(base / "worse", values(0.5, 0.8, 1), record=record | {"artefact_bytes": 125, "bits_per_weight": 4.0})
    write_scores(base / "better", values(-0.5, 0.8, 2))
    write_scores(base / "chance", values(0.0, 0.8, 3))
    return base


def compared(base: Path, *names: str, options: ComparisonOptions = OPTIONS) -> Comparison:
    return compare([str(base / name) for name in names], options)


def test_rows(folders: Path) -> None:
    comparison = compared(folders, "float", "same", "worse", "better", "chance")
    assert (comparison.unit, comparison.units, comparison.metric) == ("utterances", 200, SI_SDR)
    first, same, worse, better, chance = comparison.rows
    assert first.value == pytest.approx(np.mean(list(values().values()))) and first.versus is None
    assert first.interval.low < first.value < first.interval.high
    # The standard error of a mean.
    expected = 2 * 1.96 * np.std(list(values().values())) / np.sqrt(200)
    assert first.interval.high - first.interval.low == pytest.approx(expected, rel=0.1)
    assert same.versus is not None and same.versus.paired.difference == 0 and same.versus.paired.p_value == 1
    assert same.is_equal and same.versus.significant is False and same.versus.matched is None
    for row, sign in ((worse, -1), (better, 1)):
        assert row.versus is not None and row.versus.significant is True and not row.is_equal
        assert row.versus.paired.difference == pytest.approx(row.value - first.value)
        assert np.sign(row.versus.paired.difference) == sign and row.versus.paired.p_value < 0.01
        # What all have in common cancels: the difference is known better than either.
        assert row.versus.paired.interval.high - row.versus.paired.interval.low < 0.3
    assert chance.versus is not None and chance.versus.significant is False and chance.versus.paired.p_value > 0.1


@pytest.mark.parametrize(
    ("metric", "losses"),
    [
        (SI_SDR, {"worse": "loss (-", "better": "gain (+"}),
        (replace(SI_SDR, name="LSD", better="lower"), {"worse": "gain (-", "better": "loss (+"}),
    ],
)
def test_losses_and_gains_depend_on_the_direction(metric: Metric, losses: dict[str, str], tmp_path: Path) -> None:
    write_scores(tmp_path / "float", values(), metric)
    write_scores(tmp_path / "worse", values(0.5, 0.8, 1), metric)
    write_scores(tmp_path / "better", values(-0.5, 0.8, 2), metric)
    write_scores(tmp_path / "chance", values(0.0, 0.8, 3), metric)
    comparison = compared(tmp_path, "float", "worse", "better", "chance")
    said = dict(line.split(": ") for line in lines(comparison))
    for name, expected in losses.items():
        assert said[name].startswith(f"a significant {expected}") and said[name].endswith(" dB)")
    versus = comparison.rows[3].versus
    assert versus is not None
    end = f"up to {versus.paired.interval.high:+.2f}"
    if metric.better == "higher":
        end = f"down to {versus.paired.interval.low:+.2f}"
    expected = f"no significant loss ({versus.paired.difference:+.2f} dB; {end} cannot be ruled out)"
    assert said["chance"] == expected
    assert f"{metric.better} values are better" in notes(comparison)


def test_no_loss_can_be_ruled_out_where_the_interval_is_a_gain(tmp_path: Path) -> None:
    # Two utterances gain: too few to be significant, and no draw loses.
    write_scores(tmp_path / "a", {"u1": 1.0, "u2": 2.0, "u3": 3.0})
    write_scores(tmp_path / "b", {"u1": 1.5, "u2": 2.5, "u3": 3.0})
    assert lines(compared(tmp_path, "a", "b")) == ["b: no significant loss (+0.33 dB)"]


def test_the_same_values(folders: Path) -> None:
    comparison = compared(folders, "float", "same")
    assert lines(comparison) == ["same: 4.0 times smaller than float, no loss: the same values in all utterances"]
    assert "same: the same values as float in all utterances" in notes(comparison)


@pytest.mark.parametrize(("differing", "significant"), [(1, False), (5, False), (6, True), (200, True)])
def test_few_differences_show_nothing(differing: int, significant: bool, tmp_path: Path) -> None:
    # All draws that differ have one sign, and so have five tosses of a coin in 2 of 32 cases.
    write_scores(tmp_path / "float", values())
    changed = {name: value - (place < differing) for place, (name, value) in enumerate(values().items())}
    write_scores(tmp_path / "w8", changed)
    comparison = compared(tmp_path, "float", "w8")
    versus = comparison.rows[1].versus
    assert versus is not None and versus.significant is significant
    assert versus.paired.p_value >= min(1.0, 2.0 ** (1 - differing))
    assert any("p is never below 2 / 2^n, where n utterances differ" in note for note in notes(comparison))


def test_a_ratio_of_sums(tmp_path: Path) -> None:
    # As decode folders, whose errors and words these are.
    references, first = real()
    second = disturbed(first, 0.05, 1)
    decoded = [
        write_folder(tmp_path / f"decode_{name}", references, {"9_0.0": words})
        for name, words in (("a", first), ("b", second))
    ]
    words = compare(decoded, OPTIONS)
    for row, name in zip(words.rows, "ab", strict=True):
        score = row.folder.score
        write_scores(tmp_path / name, score.per_unit, WER, score.out_of)
    scores = compared(tmp_path, "a", "b")
    assert [row.value for row in scores.rows] == pytest.approx([row.value for row in words.rows])
    assert [row.interval for row in scores.rows] == [row.interval for row in words.rows]
    mine, theirs = scores.rows[1].versus, words.rows[1].versus
    assert mine is not None and theirs is not None and mine.paired == theirs.paired
    rows = [line for line in as_text(scores).splitlines() if line.startswith("WER")]
    assert rows[0].startswith(f"WER 14.54 [ 357 / 2456 in 400 utterances ] {tmp_path}/a/scores.json  a ")


def test_speakers_are_drawn(folders: Path, tmp_path: Path) -> None:
    (tmp_path / "utt2spk").write_text("".join(f"{name} s{name[-3]}\n" for name in values()))
    comparison = compared(folders, "float", "worse", options=replace(OPTIONS, utt2spk=str(tmp_path / "utt2spk")))
    assert (comparison.unit, comparison.units) == ("speakers", 2)
    # Both speakers differ: no better p-value than that of two tosses.
    versus = comparison.rows[1].versus
    assert versus is not None and versus.paired.p_value == 0.5 and versus.significant is False
    assert comparison.rows[1].value == compared(folders, "worse").rows[0].value
    (tmp_path / "utt2spk").write_text("p232_000 s\n")
    with pytest.raises(DataError, match="utt2spk has no speaker for the utterance p232_001"):
        compared(folders, "float", options=replace(OPTIONS, utt2spk=str(tmp_path / "utt2spk")))


def changed(change: dict[str, float | None]) -> dict[str, float]:
    found = {"u1": 1.0, "u2": 2.0, "u3": 3.0, "u4": 4.0, "u5": 5.0} | change
    return {name: value for name, value in found.items() if value is not None}


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (
            {"metric": PESQ},
            r"a has SI-SDR \(dB, higher is better\), and .*b has PESQ \(higher is better\): all folders",
        ),
        ({"metric": replace(SI_SDR, unit="")}, r"b has SI-SDR \(higher is better\): all folders of a comparison need"),
        ({"metric": replace(SI_SDR, scale=100.0)}, r"b has SI-SDR \(dB, times 100, higher is better\)"),
        (
            {"per_unit": changed({"u2": None})},
            "b has no SI-SDR of u2, which .*a has: score both on the same utterances",
        ),
        ({"per_unit": changed({"u6": 1})}, "a has no SI-SDR of u6, which .*b has: score both on the same utterances"),
        (
            {"per_unit": {"u1": 1.0}},
            "b has no SI-SDR of u2, u3, u4 and 1 more, which .*a has: score both on the same utterances",
        ),
        ({"per_unit": {"x": 1.0}}, "b has no SI-SDR of u1, u2, u3 and 2 more, which .*a has"),
        ({"out_of": dict.fromkeys(changed({}), 2.0)}, r"b has a ratio of sums \(out_of\), and .*a a mean: they cannot"),
    ],
)
def test_what_cannot_be_compared(other: dict, message: str, tmp_path: Path) -> None:
    write_scores(tmp_path / "a", changed({}))
    write_scores(tmp_path / "b", **({"per_unit": changed({})} | other))
    for names in ("ab", "ba"):
        with pytest.raises(DataError) as caught:
            compared(tmp_path, *names)
        assert "\n" not in str(caught.value) and str(tmp_path / "b") in str(caught.value)
    with pytest.raises(DataError, match=message):
        compared(tmp_path, "a", "b")


def test_what_measured_counts(tmp_path: Path) -> None:
    base = Score(PESQ, values())
    for name, made_by in (("program", "pesq 0.0.4"), ("own", "kaldi_quant"), ("unknown", "")):
        write_score(tmp_path / name, replace(base, made_by=made_by))
    assert read_score(tmp_path / "own").made_by == "kaldi_quant"
    with pytest.raises(
        DataError, match=r"program has PESQ as pesq 0\.0\.4 computes it, and \S+own as kaldi_quant does"
    ):
        compared(tmp_path, "program", "own")
    # Of one that does not say, the reader sees what is known.
    said = notes(compared(tmp_path, "program", "unknown"))
    assert "program: PESQ as pesq 0.0.4 computes it" in said and not any("unknown: PESQ" in note for note in said)


def test_other_lower_sums(tmp_path: Path) -> None:
    write_scores(tmp_path / "a", {"u1": 1, "u2": 1}, WER, {"u1": 5, "u2": 6})
    write_scores(tmp_path / "b", {"u1": 1, "u2": 1}, WER, {"u1": 5, "u2": 7})
    with pytest.raises(DataError, match="different test sets: u2 is out of 6 in the one and out of 7 in the other"):
        compared(tmp_path, "a", "b")


def test_kinds_do_not_mix(tmp_path: Path) -> None:
    words = {"u1": ["a"]}
    write_scores(tmp_path / "scores", {"u1": 1.0})
    write_folder(tmp_path / "decode", words, {"9_0.0": words})
    write_scores(Path(write_folder(tmp_path / "both", words, {"9_0.0": words})), {"u1": 1.0})
    (tmp_path / "empty").mkdir()
    for names, message in (
        (("scores", "decode"), "decode has no scores.json, and .*scores has one: all folders of a comparison need"),
        (("decode", "scores"), "decode has no scores.json, and .*scores has one: all folders of a comparison need"),
        (("scores", "empty"), "empty has no scores.json, and .*scores has one"),
        (("scores", "nowhere"), "the folder .*nowhere does not exist"),
        (("both",), r"both has scores.json and word error rates \(wer_LMWT_WIP\): which is to be compared cannot be"),
    ):
        with pytest.raises(DataError, match=message) as caught:
            compared(tmp_path, *names)
        assert "\n" not in str(caught.value)
    for options in (FixedPoint(9), FixedPoint(None, "0.5")):
        with pytest.raises(UsageError, match=r"and --cer are for decode folders, and .*scores has scores\.json"):
            compared(tmp_path, "scores", options=ComparisonOptions(options))
    with pytest.raises(UsageError, match="--lmwt, --wip and --cer are for decode folders"):
        compared(tmp_path, "scores", options=ComparisonOptions(rate=CHARACTERS))


@pytest.mark.parametrize("text", ["", '{"metric": {"name": "SI-S', "[]", '{"metric": {}, "units": {}}', "\xff"])
def test_files_that_are_broken(text: str, folders: Path, tmp_path: Path) -> None:
    (tmp_path / "scores.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(FormatError, match=r"scores\.json: ") as caught:
        compare([str(folders / "float"), str(tmp_path)], OPTIONS)
    assert "\n" not in str(caught.value)


def test_a_broken_record(tmp_path: Path) -> None:
    write_scores(tmp_path, {"u1": 1.0}, record=[])
    with pytest.raises(KaldiQuantError, match=r"quantization\.json: expected an object"):
        compare([str(tmp_path)], OPTIONS)


def test_text(folders: Path) -> None:
    comparison = compared(folders, "float", "worse")
    text = as_text(comparison)
    verdict, blank, header, first, second = text.splitlines()[:5]
    assert verdict.startswith("# worse: 8.0 times smaller than float, a significant loss (-0.") and blank == ""
    assert header.split() == [
        "#", "name", "95%-interval", "difference", "95%-interval", "p-bootstrap", "significant", "bytes", "of-float",
        "bits", "speed",
    ]  # fmt: skip
    value = f"{comparison.rows[0].value:.2f}"
    assert first.split()[:7] == ["SI-SDR", value, "[", "200", "utterances", "]", f"{folders}/float/scores.json"]
    versus = comparison.rows[1].versus
    assert versus is not None
    paired = versus.paired
    assert second.split()[7:] == [
        "worse", f"[{comparison.rows[1].interval.low:.2f},{comparison.rows[1].interval.high:.2f}]",
        f"{paired.difference:+.2f}", f"[{paired.interval.low:+.2f},{paired.interval.high:+.2f}]", "0.002", "yes",
        "125", "0.12", "4.00", "-",
    ]  # fmt: skip
    # As grep WER does for words: the name of the metric is in the rows of results alone.
    assert [line for line in text.splitlines() if "SI-SDR" in line] == [first, second]
    assert "LMWT" not in text and "MAPSSWE" not in text and "WER" not in text


def test_digits_are_those_of_the_metric(tmp_path: Path) -> None:
    for name, offset in (("a", 0.0), ("b", 0.00126)):
        scores = {unit: 0.9 + value / 1000 + offset for unit, value in values().items()}
        write_scores(tmp_path / name, scores, Metric("STOI", "", "higher", digits=4))
    comparison = compared(tmp_path, "a", "b")
    row = next(line for line in as_text(comparison).splitlines() if " b " in line).split()
    assert row[1] == f"{comparison.rows[1].value:.4f}" and row[9] == "+0.0013" and row[10] == "[+0.0013,+0.0013]"
    assert lines(comparison) == ["b: a significant gain (+0.0013)"]


def test_markdown(folders: Path) -> None:
    text = as_markdown(compared(folders, "float", "worse"))
    assert "## SI-SDR\n" in text and "| folder | SI-SDR, dB | 95 % interval | difference |" in text
    assert "MAPSSWE" not in text and "| float | 13." in text


def test_json(folders: Path) -> None:
    comparison = compared(folders, "float", "worse")
    content = json.loads(as_json(comparison))
    assert content["metric"] == asdict(SI_SDR) and "rate" not in content and "fixed_lmwt" not in content
    first, second = content["rows"]
    assert (first["value"], first["units"], first["versus_first"]) == (comparison.rows[0].value, 200, None)
    versus = comparison.rows[1].versus
    assert versus is not None
    assert second["versus_first"] == {
        "difference": versus.paired.difference,
        "interval": [versus.paired.interval.low, versus.paired.interval.high],
        "p_bootstrap": versus.paired.p_value,
        "significant": True,
        "equal_units": 0,
    }
    assert content["verdicts"]["worse"].endswith(" dB)") and second["bytes"] == 125


def test_trainings(tmp_path: Path) -> None:
    for seed in range(3):
        write_scores(tmp_path / f"a{seed}", values(0.0, 0.5, seed))
        write_scores(tmp_path / f"b{seed}", values(1.0, 0.5, seed + 9))
    arguments = [f"{name}={','.join(f'{tmp_path}/{name}{seed}' for seed in range(3))}" for name in "ab"]
    comparison = compare_trainings(arguments, OPTIONS)
    first, second = comparison.rows
    assert second.versus is not None and second.versus.difference == pytest.approx(second.mean - first.mean)
    assert second.versus.p_value < 0.05 and second.mean < first.mean
    head, row, *_ = trainings_as_text(comparison).splitlines()
    assert "mean-SI-SDR" in head.split() and row.split()[2] == f"{first.mean:.2f}"
    assert "# higher values are better" in trainings_as_text(comparison).splitlines()
    for name, loss in (("few0", 0.0), ("few1", 1.0)):
        write_scores(tmp_path / name, {"u1": 1.0 - loss, "u2": 2.0 - loss})
    few = compare_trainings([f"a={tmp_path}/few0", f"b={tmp_path}/few1"], OPTIONS).rows[1].versus
    assert few is not None and few.p_value == 0.5
    write_scores(tmp_path / "other", {"u": 1.0})
    with pytest.raises(DataError, match="other has no SI-SDR of p232_000, p232_001, p232_002 and 197 more"):
        compare_trainings([*arguments, f"c={tmp_path}/other"], OPTIONS)


def test_units_need_not_be_in_one_order(tmp_path: Path) -> None:
    write_scores(tmp_path / "a", {"u1": 1.0, "u2": 5.0}, ACCURACY, units_are="examples")
    write_scores(tmp_path / "b", {"u2": 5.0, "u1": 1.0}, ACCURACY, units_are="examples")
    comparison = compared(tmp_path, "a", "b")
    versus = comparison.rows[1].versus
    assert comparison.rows[1].is_equal and comparison.unit == "examples"
    assert versus is not None and versus.paired.interval == Interval(0.0, 0.0) and versus.paired.p_value == 1
    assert re.search(r"accuracy 300\.00 \[ 2 examples \]", as_text(comparison))
