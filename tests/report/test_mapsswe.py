"""Alignments, segments and the Z test: by hand, and against NIST's own programs where they are installed."""

import itertools
import math
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from kaldi_quant.decode.wer import Transcripts, count_edits
from kaldi_quant.report.significance.alignment import ErrorSlots, error_slots
from kaldi_quant.report.significance.mapsswe import MatchedPairs, exact_p_value, matched_pairs, segment_errors
from tests.report.decode_folders import disturbed, real

#: Where Debian's package sctk puts its programs, which are not on the PATH.
DEBIAN = "/usr/lib/sctk/bin"


@pytest.mark.parametrize(
    ("reference", "hypothesis", "inserted", "wrong"),
    [
        ("a b", "a b", [0, 0, 0], [0, 0]),
        ("", "x y", [2], []),
        ("a b", "", [0, 0, 0], [1, 1]),
        ("a b c", "a x c", [0, 0, 0, 0], [0, 1, 0]),
        ("a b", "x a b y z", [1, 0, 2], [0, 0]),
        # Four substitutions, or three errors of which one word is correct.
        ("l r o o i", "n r o i j", [0, 0, 0, 0, 0, 1], [1, 0, 1, 0, 0]),
        # The last of equal words is the one that is kept.
        ("a a a", "a", [0, 0, 0, 0], [1, 1, 0]),
        # sclite's own costs prefer 4 errors here; Kaldi counts 3.
        ("a b c", "x y z", [0, 0, 0, 0], [1, 1, 1]),
    ],
)
def test_alignments(reference: str, hypothesis: str, inserted: list[int], wrong: list[int]) -> None:
    found = error_slots(reference.split(), hypothesis.split())
    assert (found.inserted, [int(flag) for flag in found.wrong]) == (inserted, wrong)
    assert found.total == count_edits(reference.split(), hypothesis.split()).total


def test_alignments_never_have_more_errors_than_kaldi_counts() -> None:
    references, _ = real()
    for share in (0.2, 0.6, 0.95):
        hypotheses = disturbed(references, share, seed=1)
        for utterance, words in references.items():
            hypothesis = hypotheses[utterance]
            assert error_slots(words, hypothesis).total == count_edits(words, hypothesis).total


REFERENCE = list("abcdefgh")


@pytest.mark.parametrize(
    ("first", "second", "segments"),
    [
        ("a b c d e f g h", "a b c d e f g h", []),
        ("a x c d e f g h", "a b c d e f y h", [(1, 0), (0, 1)]),
        ("a x c d y f g h", "a b c d e f g h", [(1, 0), (1, 0)]),  # c d are correct in both
        ("a x c y e f g h", "a b c d e f g h", [(2, 0)]),  # c alone does not separate
        ("a x c d e f g h", "a b c y e f g h", [(1, 1)]),
        ("a x c z d y f g h", "a b c d e f g h", [(3, 0)]),  # an insertion comes between c and d
        ("a x c d y f g h", "a b c z d e f g h", [(2, 1)]),  # in either system
        ("z a b c d e f g h", "a b c d e f g h z z", [(1, 0), (0, 2)]),
        ("", "a b c d e f g x", [(8, 1)]),
    ],
)
def test_segments(first: str, second: str, segments: list[tuple[int, int]]) -> None:
    slots = [error_slots(REFERENCE, hypothesis.split()) for hypothesis in (first, second)]
    assert segment_errors(slots[0], slots[1]) == segments
    assert segment_errors(slots[1], slots[0]) == [(other, one) for one, other in segments]


def slots(*wrong: int) -> ErrorSlots:
    return ErrorSlots([0] * (len(wrong) + 1), [bool(flag) for flag in wrong])


def test_the_statistic() -> None:
    # Differences 1, 1, 1, -1: mean 1/2, variance 3/3 = 1, Z = 1/2 / (1 / 2) = 1.
    pairs = [(slots(1), slots(0))] * 3 + [(slots(0), slots(1))]
    result = matched_pairs(pairs)
    assert result.segments == 4 and result.mean == 0.5 and result.deviation == 1.0 and result.z == 1.0
    assert result.p_value == pytest.approx(0.31731, abs=1e-5)  # two tails beyond one standard deviation
    assert matched_pairs([(other, one) for one, other in pairs]).z == -1.0


def test_no_variance_shows_no_difference_as_in_sc_stats() -> None:
    assert matched_pairs([]) == MatchedPairs(0, 0.0, 0.0, 0.0, 1.0, 0, 1.0)
    assert matched_pairs([(slots(1), slots(0))] * 5) == MatchedPairs(5, 1.0, 0.0, 0.0, 1.0, 5, 1 / 16)


@pytest.mark.parametrize(
    "differences", [[1, 1, 1, 1], [2, -1, 0, 1, 1], [3, -3], [0, 0], [5, -1, -1, -2, 1, 1, 4, 0, 2]]
)
def test_the_exact_test_counts_all_signs(differences: list[int]) -> None:
    sums = [sum(signed) for signed in itertools.product(*[(value, -value) for value in differences])]
    extreme = sum(abs(value) >= abs(sum(differences)) for value in sums)
    assert exact_p_value(differences) == pytest.approx(extreme / len(sums))


def test_the_exact_test_is_the_normal_one_where_much_differs() -> None:
    differences = [1] * 300 + [-1] * 250 + [2] * 40 + [-3] * 20
    # All sums are 2 apart: the distribution's tail begins in the middle between two of them.
    z = (sum(differences) - 1) / math.sqrt(sum(value * value for value in differences))
    assert exact_p_value(differences) == pytest.approx(math.erfc(z / math.sqrt(2)), rel=0.01)


def program(name: str) -> str:
    path = shutil.which(name) or shutil.which(name, path=DEBIAN)
    if path is None:
        pytest.skip(f"{name} is not installed (Debian: apt install sctk)")
    return path


def sclite(folder: Path, references: Transcripts, systems: dict[str, Transcripts]) -> None:
    """Leaves SYSTEM.trn.sgml."""
    for name, transcripts in {"ref": references, **systems}.items():
        lines = (f"{' '.join(words)} ({utterance})\n" for utterance, words in transcripts.items())
        (folder / f"{name}.trn").write_text("".join(lines))
    for name in systems:
        options = ["-s", "-i", "wsj", "-f", "0", "-o", "sgml", "-O", ".", "-r", "ref.trn", "trn"]
        subprocess.run(
            [program("sclite"), *options, "-h", f"{name}.trn", "trn", name], cwd=folder, check=True, capture_output=True
        )


def sclite_slots(path: Path) -> dict[str, ErrorSlots]:
    """The alignments in an SGML file of sclite's."""
    found = {}
    for utterance, body in re.findall(r'<PATH id="\((.*?)\)".*?>\n(.*?)\n</PATH>', path.read_text(), re.DOTALL):
        inserted, wrong = [0], []
        for operation in re.findall(r"(?:^|:)([CSDI]),", body):
            if operation == "I":
                inserted[-1] += 1
            else:
                inserted.append(0)
                wrong.append(operation != "C")
        found[utterance] = ErrorSlots(inserted, wrong)
    return found


@pytest.mark.parametrize(("share", "seed"), [(0.01, 1), (0.03, 2), (0.1, 3)])
def test_sc_stats_agrees(tmp_path: Path, share: float, seed: int) -> None:
    references, first = real()
    systems = {"first": first, "second": disturbed(first, share, seed)}
    sclite(tmp_path, references, systems)
    ours = {
        name: {utterance: error_slots(words, system[utterance]) for utterance, words in references.items()}
        for name, system in systems.items()
    }
    for name in systems:
        assert sclite_slots(tmp_path / f"{name}.trn.sgml") == ours[name]
    sgml = b"".join((tmp_path / f"{name}.trn.sgml").read_bytes() for name in systems)
    subprocess.run(
        [program("sc_stats"), "-p", "-t", "mapsswe", "-v", "-n", "out"],
        cwd=tmp_path, input=sgml, check=True, capture_output=True,
    )  # fmt: skip
    report = (tmp_path / "out.stats.mapsswe").read_text("latin-1")
    found = re.search(
        r"# segs: (\d+)\).*mean: (\S+)\) \(std dev: (\S+)\) \(Z Stat: (\S+)\) \(Stat Diff: (\w+)\)", report
    )
    assert found is not None
    result = matched_pairs((ours["first"][utterance], ours["second"][utterance]) for utterance in references)
    assert int(found[1]) == result.segments
    for text, value in zip(found.groups()[1:4], (result.mean, result.deviation, result.z), strict=True):
        assert float(text) == pytest.approx(value, abs=0.0006)
    assert (found[5] == "Yes") == (abs(result.z) > 1.96) == (result.p_value < math.erfc(1.96 / math.sqrt(2)))
