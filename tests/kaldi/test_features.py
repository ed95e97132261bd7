"""Features as models want them, against Kaldi's own programs, and what cannot be done."""

import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from kaldi_quant.cli.main import run
from kaldi_quant.errors import DataError, FormatError, KaldiQuantError, UsageError
from kaldi_quant.kaldi.features.cmvn import CmvnOptions, accumulate, apply_cmvn
from kaldi_quant.kaldi.features.deltas import DeltaOptions, add_deltas
from kaldi_quant.kaldi.features.matrices import MatrixTable, read_matrix_file
from kaldi_quant.kaldi.features.normalisation import NormalisationOptions
from kaldi_quant.kaldi.features.online_cmvn import OnlineCmvnOptions, apply_online_cmvn
from kaldi_quant.kaldi.features.pipeline import FeatureSources
from kaldi_quant.kaldi.features.settings import settings_of_folder, settings_of_record
from kaldi_quant.kaldi.features.splice import SpliceOptions, splice
from tests.kaldi.features import FEATS, FEATURES, apply, assert_kaldis, pipeline, read

Write = Callable[..., Path]


@pytest.fixture
def folder(tmp_path: Path) -> Write:
    """Makes the folder of a model: ``folder(cmvn_opts="…", online_cmvn="")``."""

    def write(**files: str) -> Path:
        for name, text in files.items():
            (tmp_path / name).write_text(text)
        return tmp_path

    return write


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("", "means"),
        ("\n", "means"),
        ("--norm-means=true", "means"),
        ("--norm-vars=false\n", "means"),
        ("--norm_means=true", "means"),
        ("--norm-means", "means"),
        ("--NORM-Means=T --norm_vars=0 --verbose=1 --print-args=false", "means"),
        ("'--norm-means=true'  \"--norm-vars\"", "vars"),
        ("--norm-means=false --norm-means=true --norm-vars=1", "vars"),
        ("--norm-vars=true --skip-dims=0:2", "skip"),
        ("--utt2spk=ark:elsewhere --reverse", "reverse_means"),
        ("--reverse=true --norm-vars=true", "reverse_vars"),
        ("--norm-means=false --norm-vars=false", "feats"),
        ("--norm_means=f", "feats"),
    ],
)
def test_apply_cmvn(folder: Write, text: str, name: str) -> None:
    assert_kaldis(apply(pipeline(folder(cmvn_opts=text))), name)


def test_a_folder_without_the_files_leaves_features_as_they_are(tmp_path: Path) -> None:
    done = pipeline(tmp_path)
    assert_kaldis(apply(done), "feats", 1e-30)
    assert not done.steps and not done.files and done.describe() == ""


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("", "online"),
        (f"--config={FEATURES}/window30.conf", "online_window"),
        (f"--speaker-frames=12 --config={FEATURES}/window30.conf --global-frames=5 --skip_dims=1", "online_few"),
        ("--norm-vars=true --global-frames=900", "online_global"),
        ("--norm-means=false", "feats"),
    ],
)
def test_apply_cmvn_online(folder: Write, text: str, name: str) -> None:
    model = folder(cmvn_opts=text, online_cmvn="")
    shutil.copy(FEATURES / "global_cmvn.stats", model)
    assert_kaldis(apply(pipeline(model)), name)


def test_online_normalisation_without_speakers(folder: Write) -> None:
    options = NormalisationOptions(f"--config={FEATURES}/window30.conf", True, f"{FEATURES}/global_cmvn.stats")
    assert_kaldis(apply(pipeline(folder(), FeatureSources(utt2spk=""), options)), "online_utterances")


def test_utterances_in_any_order_and_number(folder: Write) -> None:
    """A speaker's utterances are normalised in the order of spk2utt, whichever come, and in whichever order."""
    options = NormalisationOptions("", True, f"{FEATURES}/global_cmvn.stats")
    done, feats = pipeline(folder(), options=options), read("feats")
    expected = read("online")
    for order in (["b2", "a2", "a1", "b1", "a3"], ["a3", "a1"], ["b1", "a1", "a3"]):
        found = dict(done.apply((name, feats[name]) for name in order))
        assert {name: np.abs(rows - expected[name]).max() < 1e-4 for name, rows in found.items()} == dict.fromkeys(
            order, True
        )
    first = [name for name, _ in done.apply((name, feats[name]) for name in ("a3", "b1", "a1", "a2"))]
    assert first == ["a3", "b1", "a1", "a2"]


def test_statistics_of_utterances_and_of_all(folder: Write) -> None:
    model = folder(cmvn_opts="--norm-vars=true")
    by_utterance = FeatureSources(cmvn=f"ark:{FEATURES}/cmvn_utterances.ark", utt2spk="")
    assert_kaldis(apply(pipeline(model, by_utterance)), "utterances")
    of_all = FeatureSources(cmvn=f"{FEATURES}/global_cmvn.stats")
    assert_kaldis(apply(pipeline(folder(cmvn_opts=""), of_all)), "global")


def test_what_lies_elsewhere(folder: Write, tmp_path: Path) -> None:
    """Features in a folder of their own; utt2spk is named by a path or by an rspecifier."""
    feats = tmp_path / "other" / "feats.ark"
    feats.parent.mkdir()
    shutil.copy(FEATURES / "feats.ark", feats)
    for utt2spk in (f"{FEATURES}/utt2spk", f"ark,t:{FEATURES}/utt2spk"):
        sources = FeatureSources(cmvn=f"scp:{FEATURES}/cmvn.scp", utt2spk=utt2spk)
        done = pipeline(folder(cmvn_opts=""), sources, feats=f"ark:{feats}")
        assert_kaldis(apply(done), "means")
        assert set(done.files) == {
            str(tmp_path / "cmvn_opts"),
            *(str(FEATURES / name) for name in ("cmvn.scp", "cmvn.ark", "utt2spk")),
        }
        assert done.describe() == (
            "apply-cmvn --norm-means=true --norm-vars=false --reverse=false "
            f"--utt2spk=ark:{FEATURES}/utt2spk scp:{FEATURES}/cmvn.scp"
        )


def test_features_that_are_normalised_already(folder: Write) -> None:
    done = pipeline(folder(cmvn_opts=""), FeatureSources(ignore_cmvn=True), feats="ark:-")
    assert not done.steps


def test_options_in_place_of_the_folder(folder: Write) -> None:
    model = folder(cmvn_opts="--norm-means=false")
    assert_kaldis(apply(pipeline(model, options=NormalisationOptions("--norm-vars=true"))), "vars")
    online = NormalisationOptions("", True, f"{FEATURES}/global_cmvn.stats")
    assert_kaldis(apply(pipeline(model, options=online)), "online")
    model = folder(online_cmvn="", cmvn_opts="")
    assert_kaldis(apply(pipeline(model, options=NormalisationOptions(online_cmvn=False))), "means")


def test_the_folder_of_online_decoders(folder: Write, tmp_path: Path) -> None:
    """prepare_online_decoding.sh leaves a configuration file in place of cmvn_opts."""
    (tmp_path / "conf").mkdir()
    shutil.copy(FEATURES / "window30.conf", tmp_path / "conf" / "online_cmvn.conf")
    shutil.copy(FEATURES / "global_cmvn.stats", tmp_path)
    assert_kaldis(apply(pipeline(folder(online_cmvn=""))), "online_window")


def test_a_configuration_file_above_the_models_folder(tmp_path: Path) -> None:
    model = tmp_path / "exp" / "chain" / "tdnn"
    model.mkdir(parents=True)
    (tmp_path / "conf").mkdir()
    shutil.copy(FEATURES / "window30.conf", tmp_path / "conf" / "online_cmvn.conf")
    shutil.copy(FEATURES / "global_cmvn.stats", model)
    (model / "cmvn_opts").write_text("--config=conf/online_cmvn.conf\n")
    (model / "online_cmvn").touch()
    done = pipeline(model)
    assert_kaldis(apply(done), "online_window")
    assert str(tmp_path / "conf" / "online_cmvn.conf") in done.files


def test_deltas_and_splicing() -> None:
    feats = read("feats")
    assert_kaldis({name: add_deltas(rows, DeltaOptions()) for name, rows in feats.items()}, "deltas")
    options = DeltaOptions(delta_order=1, delta_window=3, truncate=3)
    assert_kaldis({name: add_deltas(rows, options) for name, rows in feats.items()}, "deltas_first")
    means = read("means")
    assert_kaldis({name: splice(rows, SpliceOptions(1, 0)) for name, rows in means.items()}, "splice", 1e-30)


def test_the_kind_of_features(folder: Write) -> None:
    assert_kaldis(apply(pipeline(folder(delta_opts=""), input_dim=12)), "deltas")
    options = "--delta-order=1 --delta-window=3 --truncate=3"
    assert_kaldis(apply(pipeline(folder(delta_opts=options), input_dim=6)), "deltas_first")
    model = folder(cmvn_opts="", splice_opts="--left-context=2 --right-context=1")
    for name in ("lda", "lda_affine"):
        shutil.copy(FEATURES / f"{name}.mat", model / "final.mat")
        assert_kaldis(apply(pipeline(model, input_dim=3)), name)
        # The folder's files are of another system where the features fit the model as they are.
        assert_kaldis(apply(pipeline(model, input_dim=4)), "means")
    assert_kaldis(apply(pipeline(model, FeatureSources(feat_type="raw"), input_dim=3)), "means")


def test_kinds_that_cannot_be_told_apart(folder: Write) -> None:
    model = folder(splice_opts="--left-context=0 --right-context=0")
    np.savetxt(model / "rows", np.eye(4), "%g")
    (model / "final.mat").write_text(" [\n" + (model / "rows").read_text().rstrip() + " ]\n")
    with pytest.raises(UsageError, match="--feat-type raw or --feat-type lda"):
        apply(pipeline(model))
    assert_kaldis(apply(pipeline(model, FeatureSources(feat_type="lda"))), "feats")
    with pytest.raises(UsageError, match=r"no final\.mat in the model's folder"):
        apply(pipeline(folder() / "missing", FeatureSources(feat_type="lda")))


def test_fmllr(folder: Write) -> None:
    transforms = FeatureSources(transforms=f"ark:{FEATURES}/fmllr.ark")
    assert_kaldis(apply(pipeline(folder(cmvn_opts=""), transforms)), "fmllr_means")
    unknown = FeatureSources(transforms=f"ark:{FEATURES}/fmllr.ark", utt2spk="", ignore_cmvn=True)
    with pytest.raises(DataError, match=r"utterance a1: .*fmllr\.ark has no a1"):
        apply(pipeline(folder(), unknown))


def test_an_integer_models_record(folder: Write, tmp_path: Path) -> None:
    """What a record tells is what the folder said, without the folder; and so are the files that come of it."""
    model = folder(cmvn_opts=f"--config={FEATURES}/window30.conf", online_cmvn="", delta_opts="--delta-order=1")
    shutil.copy(FEATURES / "global_cmvn.stats", model)
    settings = settings_of_folder(model)
    content = settings.as_dict()
    assert content["cmvn_opts"].startswith("--cmn-window=30 ")
    read_back = settings_of_record(content, "quantized.safetensors")
    assert asdict(read_back.normalisation)["options"] == asdict(settings.normalisation)["options"]
    contents = read_back.contents()
    assert set(contents) == {"cmvn_opts", "online_cmvn", "global_cmvn.stats", "delta_opts"}
    (tmp_path / "written").mkdir()
    for name, written in contents.items():
        (tmp_path / "written" / name).write_bytes(written)
    assert_kaldis(apply(pipeline(tmp_path / "written")), "online_window")
    replaced = settings_of_record(content, "quantized.safetensors", NormalisationOptions("", False))
    assert isinstance(replaced.normalisation.options, CmvnOptions)
    for broken in ({**content, "cmvn_opts": 3}, {**content, "other": ""}, [], {"global_cmvn.stats": {"rows": 2}}):
        with pytest.raises(FormatError, match="quantized"):
            settings_of_record(broken, "quantized.safetensors")


def test_a_transform_that_another_system_left_is_not_recorded(folder: Write) -> None:
    shutil.copy(FEATURES / "lda.mat", folder(splice_opts="", delta_opts="") / "final.mat")
    settings = settings_of_folder(folder())
    assert set(settings.for_dim(3).as_dict()) == {"delta_opts", "splice_opts", "final.mat"}
    assert set(settings.for_dim(12).as_dict()) == {"delta_opts"}
    assert not settings.for_dim(4).as_dict()


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (
            {"cmvn_opts": "--norm-varz=true"},
            r"cmvn_opts: expected an option such as --norm-means=true, found '--norm-v",
        ),
        ({"cmvn_opts": "--cmn-window=600"}, r"cmvn_opts: .*found '--cmn-window=600'; allowed are --norm-means=true"),
        ({"cmvn_opts": "--norm-means=yes"}, "--norm-means must be true or false, found 'yes'"),
        ({"cmvn_opts": "--norm-means="}, "--norm-means= needs a value"),
        ({"cmvn_opts": "--norm-means false"}, "found 'false'"),
        ({"cmvn_opts": "norm-means=false"}, "found 'norm-means=false'"),
        ({"cmvn_opts": "--"}, "found '--'"),
        ({"cmvn_opts": "--config conf/x"}, "--config needs a value"),
        (
            {"cmvn_opts": "--config=conf/missing.conf"},
            r"conf/missing\.conf: cannot be read: No such file or directory; .*cmvn_opts names it",
        ),
        ({"cmvn_opts": "--config="}, "expected a file"),
        ({"cmvn_opts": "--config=- "}, "expected a file"),
        ({"cmvn_opts": "--skip-dims"}, "--skip-dims needs a value"),
        ({"cmvn_opts": "--skip-dims=1,2"}, r"cmvn_opts: --skip-dims=1,2: expected integers"),
        ({"cmvn_opts": "--skip-dims=1:"}, "expected integers"),
        ({"cmvn_opts": "--norm-means=false --norm-vars=true"}, "--norm-vars=true with --norm-means=false"),
        ({"cmvn_opts": "--norm-means=$x"}, r"found '\$' in them"),
        ({"cmvn_opts": "--norm-means=true # of course"}, "found '#' in them"),
        ({"cmvn_opts": "--skip-dims='1"}, "expected options"),
        ({"cmvn_opts": "--help"}, "--help"),
        ({"cmvn_opts": "", "online_cmvn": ""}, r"global_cmvn\.stats is missing, and .*online_cmvn asks"),
        ({"cmvn_opts": "--cmn-window=0", "online_cmvn": ""}, "--cmn-window=0"),
        ({"cmvn_opts": "--cmn-window=1e3", "online_cmvn": ""}, "--cmn-window must be an integer"),
        ({"cmvn_opts": "--cmn-window=4294967296", "online_cmvn": ""}, "--cmn-window must be an integer"),
        ({"online_cmvn": ""}, r"online_cmvn is there, and .*cmvn_opts, .* is missing: give --online-cmvn=true"),
        ({"global_cmvn.stats": " [ 1 1 ]"}, r"global_cmvn\.stats is there, and .*cmvn_opts"),
        (
            {"cmvn_opts": "", "online_cmvn": "", "global_cmvn.stats": "3"},
            r"global_cmvn\.stats, byte 0: expected a matrix",
        ),
        ({"cmvn_opts": "", "online_cmvn": "", "global_cmvn.stats": ""}, "expected a matrix"),
        ({"cmvn_opts": "", "online_cmvn": "", "global_cmvn.stats": " [ ]"}, "expected a matrix"),
        ({"delta_opts": "--delta-order=-1"}, r"delta_opts: --delta-order=-1"),
        ({"delta_opts": "--delta-window=0"}, "--delta-window=0"),
        ({"splice_opts": "--left-context=-1"}, r"splice_opts: --left-context=-1"),
        ({"splice_opts": "--context=1"}, r"splice_opts: .*allowed are --left-context=4"),
        ({"final.mat": "x"}, r"final\.mat"),
    ],
)
def test_what_folders_cannot_say(folder: Write, files: dict[str, str], message: str) -> None:
    with pytest.raises(KaldiQuantError, match=message):
        settings_of_folder(folder(**files))


def test_statistics_for_nothing(folder: Write) -> None:
    options = NormalisationOptions(global_cmvn_stats=f"{FEATURES}/global_cmvn.stats")
    with pytest.raises(UsageError, match="give --online-cmvn, too"):
        settings_of_folder(folder(cmvn_opts=""), options)


@pytest.mark.parametrize(
    ("missing", "online", "message"),
    [
        ("cmvn.scp", False, r"cmvn\.scp is missing, and .*cmvn_opts asks .*compute_cmvn_stats\.sh .*give --cmvn"),
        ("utt2spk", False, r"utt2spk is missing, .*give --utt2spk FILE, or --ignore-cmvn"),
        ("spk2utt", True, r"spk2utt is missing, .*give --utt2spk FILE"),
    ],
)
def test_what_is_not_beside_the_features(
    folder: Write, tmp_path: Path, missing: str, online: bool, message: str
) -> None:
    data = tmp_path / "data"
    shutil.copytree(FEATURES, data)
    for name in (missing, "utt2spk") if online else (missing,):
        (data / name).unlink()
    model = folder(cmvn_opts="", **({"online_cmvn": ""} if online else {}))
    shutil.copy(FEATURES / "global_cmvn.stats", model)
    with pytest.raises(UsageError, match=message):
        pipeline(model, feats=f"ark:{data}/feats.ark")


def test_features_without_a_folder(folder: Write) -> None:
    with pytest.raises(UsageError, match=r"ark:- has no folder, and .*--cmvn RSPECIFIER"):
        pipeline(folder(cmvn_opts=""), feats="ark:-")


def test_without_spk2utt_the_order_is_that_of_utt2spk(folder: Write, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "utt2spk").write_text("a3 alice\nb1 bob\na1 alice\na2 alice\nb2 bob\n")
    shutil.copy(FEATURES / "feats.ark", data)
    options = NormalisationOptions("", True, f"{FEATURES}/global_cmvn.stats")
    assert_kaldis(apply(pipeline(folder(), options=options, feats=f"ark:{data}/feats.ark")), "online")


@pytest.mark.parametrize(
    ("stats", "options", "message"),
    [
        (np.ones((2, 4)), CmvnOptions(), "dimension 4, and the statistics to normalise them 3"),
        (np.ones((1, 5)), CmvnOptions(norm_vars=True), "--norm-vars=true needs statistics of variances"),
        (np.ones((1, 5)), CmvnOptions(skip_dims="1"), "--skip-dims=1 needs"),
        (np.zeros((2, 5)), CmvnOptions(), "of 0 frames"),
        (np.full((2, 5), np.nan), CmvnOptions(), "not finite"),
        (np.ones((2, 5)), CmvnOptions(skip_dims="4"), "there is no dimension 4"),
        (np.ones((2, 5)), CmvnOptions(skip_dims="-1"), "there is no dimension -1"),
    ],
)
def test_statistics_that_cannot_be_used(stats: np.ndarray, options: CmvnOptions, message: str) -> None:
    feats = np.ones((3, 4), np.float32)
    with pytest.raises(DataError, match=message):
        apply_cmvn(feats, stats, options)
    if not options.skip_dims and len(stats) == 2:
        with pytest.raises(DataError, match=message):
            apply_online_cmvn(feats, stats, None, OnlineCmvnOptions())


def test_means_need_one_row_of_statistics() -> None:
    feats = read("feats")["a1"]
    stats = accumulate(feats)
    assert np.array_equal(apply_cmvn(feats, stats[:1], CmvnOptions()), apply_cmvn(feats, stats, CmvnOptions()))
    assert abs(apply_cmvn(feats, stats, CmvnOptions()).mean(0)).max() < 1e-5


def test_utterances_that_cannot_be_used_are_left_out(folder: Write, tmp_path: Path) -> None:
    """One of a speaker without statistics, one of no speaker, and one of another dimension; an empty one stays."""
    data = tmp_path / "data"
    data.mkdir()
    (data / "utt2spk").write_text("a1 alice\na2 carol\nb1 bob\ne1 bob\n")
    (data / "cmvn.scp").write_text((FEATURES / "cmvn.scp").read_text().replace("cmvn.ark", f"{FEATURES}/cmvn.ark"))
    feats = read("feats")
    utterances = [*feats.items(), ("e1", np.zeros((0, 0), np.float32)), ("b1", feats["b1"][:, :3])]
    bad: dict[str, str] = {}
    done = pipeline(folder(cmvn_opts=""), feats=f"ark:{data}/feats.ark")
    found = list(done.apply(utterances, lambda name, error: bad.setdefault(f"{name}{len(bad)}", str(error))))
    assert [name for name, _ in found] == ["a1", "b1", "e1"]
    assert list(bad) == ["a20", "a31", "b22", "b13"]
    assert "cmvn.scp has no carol" in bad["a20"] and "utt2spk does not tell its speaker" in bad["a31"]
    assert bad["b13"].startswith("utterance b1: the features have dimension 3")
    with pytest.raises(DataError, match="utterance a2: "):
        list(done.apply(utterances))


def test_tables_of_matrices(tmp_path: Path) -> None:
    binary = dict(zip("ab", ([[1.0 / 3, 2.0]], [[3.0, 4.0], [5.0, 6.0]]), strict=True))
    (tmp_path / "t.ark").write_text("a  [ 0.3333333333333333 2 ]\nb  [\n 3 4\n 5 6 ]\n")
    table = MatrixTable(f"ark:{tmp_path}/t.ark")
    for key, values in binary.items():
        assert np.array_equal(table.get(key), values)
    with pytest.raises(DataError, match=r"t\.ark has no c"):
        table.get("c")
    for name, content in {
        "short": b"a \0BDM \4\2\0\0\0\4\5\0\0\0abc",
        "type": b"a \0BFV \4\2\0\0\0\0\0\0\0\0\0\0\0",
        "huge": b"a \0BDM \4\xff\xff\xff\x7f\4\xff\xff\xff\x7f",
    }.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(FormatError, match=name):
            MatrixTable(f"ark:{tmp_path}/{name}")
    (tmp_path / "bad.scp").write_text(f"a {tmp_path}/short:2\nb {tmp_path}/nothing:3\n")
    table = MatrixTable(f"scp:{tmp_path}/bad.scp")
    for key in "ab":
        with pytest.raises(DataError, match=rf"{key} \(.*bad\.scp, line"):
            table.get(key)


@pytest.mark.parametrize(
    ("options", "name"), [([], "cmvn_utterances"), ([f"--spk2utt=ark:{FEATURES}/spk2utt"], "cmvn")]
)
def test_kaldis_statistics_to_the_last_byte(tmp_path: Path, options: list[str], name: str) -> None:
    assert run(["compute-cmvn-stats", *options, FEATS, f"ark:{tmp_path}/stats.ark"]) == 0
    assert (tmp_path / "stats.ark").read_bytes() == (FEATURES / f"{name}.ark").read_bytes()


def test_statistics_of_all(tmp_path: Path) -> None:
    assert run(["compute-cmvn-stats", FEATS, str(tmp_path / "global_cmvn.stats")]) == 0
    kaldis = read_matrix_file(str(FEATURES / "global_cmvn.stats"))
    # Kaldi's are in text form, with seven digits.
    np.testing.assert_allclose(read_matrix_file(str(tmp_path / "global_cmvn.stats")), kaldis, rtol=1e-6)


def test_statistics_that_are_there_twice_are_refused(tmp_path: Path) -> None:
    content = (FEATURES / "fmllr.ark").read_bytes()
    (tmp_path / "twice.ark").write_bytes(content + content)
    with pytest.raises(FormatError, match=r"twice\.ark.*: alice is in this archive twice"):
        MatrixTable(f"ark:{tmp_path}/twice.ark")
