"""Tables: every form in which Kaldi writes matrices, broken files, and what is written back."""

import gzip
import random
import struct
from pathlib import Path

import kaldiio
import numpy as np
import pytest

from kaldi_quant.errors import DataError, FormatError, KaldiQuantError, UsageError
from kaldi_quant.kaldi.tables import RandomAccessMatrices, matrix_writer, read_matrices, read_vectors

DATA = {"utt-a": np.arange(12, dtype=np.float32).reshape(4, 3) / 7, "utt-b": np.ones((2, 3), np.float32)}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current directory with a.ark, a.scp (binary) and t.ark (text) of DATA."""
    monkeypatch.chdir(tmp_path)
    for wspecifier in ("ark,scp:a.ark,a.scp", "ark,t:t.ark"):
        with matrix_writer(wspecifier) as writer:
            for key, values in DATA.items():
                writer.write(key, values)
    return tmp_path


def check(rspecifier: str, tolerance: float = 0.0, allow_pipes: bool = False) -> None:
    found = dict(read_matrices(rspecifier, allow_pipes))
    assert list(found) == list(DATA)
    for key, values in DATA.items():
        assert found[key].dtype == np.float32
        assert found[key].flags.writeable
        np.testing.assert_allclose(found[key], values, atol=tolerance, rtol=0)


def test_binary_archive_is_what_kaldi_writes(folder: Path) -> None:
    head = b"utt-a \0BFM \x04" + struct.pack("<i", 4) + b"\x04" + struct.pack("<i", 3)
    assert (folder / "a.ark").read_bytes().startswith(head + DATA["utt-a"].tobytes() + b"utt-b ")
    assert (folder / "a.scp").read_text() == "utt-a a.ark:6\nutt-b a.ark:75\n"


@pytest.mark.parametrize("prefix", ["ark", "ark,s,cs", "s,cs,ark", "ark,t", "ark, o"])
def test_archive(folder: Path, prefix: str) -> None:
    check(f"{prefix}:a.ark")
    check(f"{prefix}:t.ark", tolerance=1e-6)


def test_script(folder: Path) -> None:
    check("scp:a.scp")
    check("scp,p:a.scp")


def test_kaldiio_reads_what_was_written(folder: Path) -> None:
    for key, values in kaldiio.load_ark("a.ark"):
        np.testing.assert_array_equal(values, DATA[key])


@pytest.mark.parametrize("method", [2, 3, 5])
def test_compressed(folder: Path, method: int) -> None:
    matrix = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32)
    kaldiio.save_ark("c.ark", {"utt": matrix}, compression_method=method)
    ((key, found),) = read_matrices("ark:c.ark")
    ((_, expected),) = kaldiio.load_ark("c.ark")
    assert (key, found.shape) == ("utt", (50, 4))
    np.testing.assert_allclose(found, expected, atol=1e-6)
    np.testing.assert_allclose(found, matrix, atol=0.05)


def test_double_is_read_as_float(folder: Path) -> None:
    kaldiio.save_ark("d.ark", {key: values.astype(np.float64) for key, values in DATA.items()})
    check("ark:d.ark")


def test_gzip(folder: Path) -> None:
    (folder / "a.ark.gz").write_bytes(gzip.compress((folder / "a.ark").read_bytes()))
    check("ark:a.ark.gz")


def test_truncated_gzip(folder: Path) -> None:
    (folder / "a.ark.gz").write_bytes(gzip.compress((folder / "a.ark").read_bytes())[:-20])
    with pytest.raises(KaldiQuantError, match=r"a\.ark\.gz"):
        list(read_matrices("ark:a.ark.gz"))


def test_pipes_run_only_when_allowed(folder: Path) -> None:
    check("ark:cat a.ark |", allow_pipes=True)
    with pytest.raises(UsageError, match="--allow-pipes"):
        read = read_matrices("ark:touch ran; cat a.ark |")
        list(read)
    (folder / "p.scp").write_text("utt-a tail -c +7 a.ark |\n")
    with pytest.raises(UsageError, match=r"p\.scp, line 1.*--allow-pipes"):
        list(read_matrices("scp:p.scp"))
    ((_, values),) = read_matrices("scp:p.scp", allow_pipes=True)
    np.testing.assert_array_equal(values, DATA["utt-a"])
    assert not (folder / "ran").exists()


def test_a_failing_command_is_an_error(folder: Path) -> None:
    with pytest.raises(FormatError, match="status 3"):
        list(read_matrices("ark:cat a.ark; exit 3 |", allow_pipes=True))


@pytest.mark.parametrize(
    ("text", "rows", "columns"),
    [
        ("[1:2]", slice(1, 3), slice(None)),
        ("[0:0,1:2]", slice(0, 1), slice(1, 3)),
        ("[:,0:1]", slice(None), slice(0, 2)),
    ],
)
def test_ranges_include_both_ends(folder: Path, text: str, rows: slice, columns: slice) -> None:
    (folder / "r.scp").write_text(f"utt a.ark:6{text}\n")
    ((_, values),) = read_matrices("scp:r.scp")
    np.testing.assert_array_equal(values, DATA["utt-a"][rows, columns])


def test_a_range_may_end_up_to_three_rows_late_as_in_kaldi(folder: Path) -> None:
    (folder / "r.scp").write_text("utt a.ark:6[2:6]\n")
    ((_, values),) = read_matrices("scp:r.scp")
    assert values.shape == (2, 3)


@pytest.mark.parametrize("text", ["[2:7]", "[3:1]", "[4:5]", "[0:1,0:3]", "[a:b]", "[]", "[0:1,0:1,0:1]"])
def test_bad_ranges(folder: Path, text: str) -> None:
    (folder / "r.scp").write_text(f"utt a.ark:6{text}\n")
    with pytest.raises(KaldiQuantError, match=r"r\.scp, line 1"):
        list(read_matrices("scp:r.scp"))


def test_relative_paths_are_found_above_the_scp(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    split = folder / "data" / "test" / "split8" / "1"
    split.mkdir(parents=True)
    (folder / "mfcc").mkdir()
    (folder / "a.ark").rename(folder / "mfcc" / "a.ark")
    (split / "feats.scp").write_text("utt-a mfcc/a.ark:6\nutt-b mfcc/a.ark:75\n")
    monkeypatch.chdir("/")
    check(f"scp:{split}/feats.scp")


def test_a_bare_name_is_not_looked_for_above_the_scp(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "data").mkdir()
    (folder / "data" / "feats.scp").write_text("utt-a a.ark:6\nutt-b a.ark:75\n")
    monkeypatch.chdir("/")
    with pytest.raises(DataError, match="No such file"):
        list(read_matrices(f"scp:{folder}/data/feats.scp"))
    (folder / "a.ark").rename(folder / "data" / "a.ark")
    check(f"scp:{folder}/data/feats.scp")


def test_the_current_directory_comes_first(folder: Path) -> None:
    (folder / "sub").mkdir()
    (folder / "sub" / "a.ark").write_bytes(b"garbage")
    (folder / "sub" / "a.scp").write_text((folder / "a.scp").read_text())
    check("scp:sub/a.scp")


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("", "is empty"),
        ("utt-a a.ark:6\n\nutt-b a.ark:75\n", "line 2.*blank"),
        ("utt-a\n", "line 1: expected an utterance and a place"),
        ("utt-a a.ark:6\nutt-a a.ark:6\n", "line 2.*utt-a appears again.*line 1"),
        ("utt-a missing.ark:6\n", "utt-a.*missing.ark.*No such file"),
        ("utt-a a.ark:7\n", "utterance utt-a: a.ark, byte 7: expected a matrix"),
        ("utt-a a.ark:100000\n", "the file has .* bytes"),
        ("utt-a .\n", "utt-a.*directory"),
    ],
)
def test_bad_scripts(folder: Path, script: str, message: str) -> None:
    (folder / "bad.scp").write_text(script)
    with pytest.raises(KaldiQuantError, match=message) as error:
        list(read_matrices("scp:bad.scp"))
    assert "\n" not in str(error.value)


def test_a_script_that_is_not_text(folder: Path) -> None:
    (folder / "bad.scp").write_bytes(b"utt-a a.ark:6\nutt-\0 a.ark:6\n")
    with pytest.raises(FormatError, match="line 2: expected text, found binary data"):
        list(read_matrices("scp:bad.scp"))


def test_bad_entries_can_be_left_out(folder: Path) -> None:
    (folder / "bad.scp").write_text("utt-x missing.ark:6\nutt-y a.ark:9\n" + (folder / "a.scp").read_text())
    bad: list[str] = []
    assert len(list(read_matrices("scp:bad.scp", on_bad=lambda key, error: bad.append(key)))) == 2
    assert bad == ["utt-x", "utt-y"]
    check("scp,p:bad.scp")


@pytest.mark.parametrize(
    "rspecifier", ["feats.scp", "foo:feats.scp", "ark,x:a.ark", "ark,scp:a,b", "ark: a.ark", "ark:|cat"]
)
def test_bad_rspecifiers(rspecifier: str) -> None:
    with pytest.raises(UsageError):
        read_matrices(rspecifier)


@pytest.mark.parametrize(
    "wspecifier", ["out.ark", "scp:out.scp", "ark,scp:out.ark", "ark,scp:-,out.scp", "ark,q:out", "ark:cat|"]
)
def test_bad_wspecifiers(folder: Path, wspecifier: str) -> None:
    with pytest.raises(UsageError), matrix_writer(wspecifier):
        pass
    assert not list(folder.glob("*out*"))


@pytest.mark.parametrize(
    "content", [b"", b"\n", b"utt", b"utt ", b"utt \0B", b"utt \0BFM \x04", b"\xff\xfe \0B", b"\0" * 5000]
)
def test_bad_archives(folder: Path, content: bytes) -> None:
    (folder / "bad.ark").write_bytes(content)
    with pytest.raises(KaldiQuantError, match=r"bad\.ark"):
        list(read_matrices("ark:bad.ark"))


@pytest.mark.parametrize("shape", [(2**31 - 1, 2**31 - 1), (2**31 - 1, 0), (-1, 3), (5, 4)])
@pytest.mark.parametrize("token", ["FM", "DM", "CM", "CM2", "CM3"])
def test_a_corrupt_dimension_allocates_nothing(folder: Path, token: str, shape: tuple[int, int]) -> None:
    head = struct.pack("<ffii", 0, 1, *shape) if token[0] == "C" else struct.pack("<bibi", 4, shape[0], 4, shape[1])
    (folder / "bad.ark").write_bytes(b"utt \0B" + token.encode() + b" " + head + b"12345678")
    for rspecifier in ("ark:bad.ark", "ark:cat bad.ark |"):
        with pytest.raises(DataError, match=r"utterance utt: .*, byte"):
            list(read_matrices(rspecifier, allow_pipes=True))


@pytest.mark.parametrize("token", ["FM", "CM", "CM2", "CM3"])
def test_empty_matrices_are_read(folder: Path, token: str) -> None:
    head = bytes(16) if token[0] == "C" else b"\x04\0\0\0\0\x04\0\0\0\0"
    (folder / "e.ark").write_bytes(b"utt \0B" + token.encode() + b" " + head)
    ((_, values),) = read_matrices("ark:e.ark")
    assert values.shape == (0, 0)


def test_vectors(folder: Path) -> None:
    kaldiio.save_ark("v.ark", {"utt": np.arange(3, dtype=np.float32)})
    (folder / "vt.ark").write_text("utt  [ 0 1 2 ]\n")
    for name in ("v.ark", "vt.ark"):
        ((_, values),) = read_vectors(f"ark:{name}")
        np.testing.assert_array_equal(values, [0, 1, 2])
        np.testing.assert_array_equal(RandomAccessMatrices(f"ark:{name}").get("utt"), [0, 1, 2])
    with pytest.raises(DataError, match="expected a matrix, found a vector"):
        list(read_matrices("ark:v.ark"))
    with pytest.raises(DataError, match="expected a vector, found a matrix"):
        list(read_vectors("ark:a.ark"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[ ]\n", np.zeros((0, 0))),
        ("[]\n", np.zeros((0, 0))),
        ("[ ; ]\n", np.zeros((0, 0))),
        ("[ 1 2 ; 3 4 ]\n", [[1, 2], [3, 4]]),
        ("[ 1;2 ]\n", [[1], [2]]),
        ("[ 1 2 ]\n", [[1, 2]]),
        ("[\n 1 2\n\n 3 4\n]\n", [[1, 2], [3, 4]]),
        ("[ 1 2\r\n 3 4 ]\r\n", [[1, 2], [3, 4]]),
        ("\n[ 1 2 ]\n\n", [[1, 2]]),
        ("[ 1\t2\v3\f4]\n", [[1, 2, 3, 4]]),
        ("[ inf NaN INFINITY -.5 2. 1e3 1E-3 ]\n", [[np.inf, np.nan, np.inf, -0.5, 2, 1000, 0.001]]),
    ],
)
def test_text_matrices(folder: Path, text: str, expected: list[list[float]]) -> None:
    """As Kaldi's copy-feats reads them; what follows is read, too."""
    (folder / "t.ark").write_text(f"utt-a {text}utt-b  [ 5 6 ]\n")
    (_, found), (_, other) = read_matrices("ark:t.ark")
    np.testing.assert_array_equal(found, np.array(expected, np.float32))
    np.testing.assert_array_equal(other, [[5, 6]])
    (folder / "t.scp").write_text("utt-a t.ark:6\n")
    ((_, found),) = read_matrices("scp:t.scp")
    np.testing.assert_array_equal(found, np.array(expected, np.float32))


def test_text_entries_on_one_line(folder: Path) -> None:
    (folder / "t.ark").write_text("utt-a [ 1 2 ] utt-b [ 3 4 ]\n")
    assert {key: values.tolist() for key, values in read_matrices("ark:t.ark")} == {
        "utt-a": [[1, 2]],
        "utt-b": [[3, 4]],
    }
    assert {key: values.tolist() for key, values in read_vectors("ark:t.ark")} == {"utt-a": [1, 2], "utt-b": [3, 4]}
    (folder / "t.ark").write_text("utt-a [ 1 2 ; 3 4 ]\nutt-b [ 1 2 ]\n")
    table = RandomAccessMatrices("ark:t.ark")
    assert table.get("utt-a").tolist() == [[1, 2], [3, 4]] and table.get("utt-b").tolist() == [1, 2]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[ 1 2\n 3 ]\n", "rows of 1 and of 2 columns"),
        ("[ 1_0 ]\n", "expected numbers in brackets, found '_0'"),
        ("[ 1\u00a02 ]\n", r"expected numbers in brackets, found '\\\\xc2\\\\xa02'"),
        ("[ 1,2 ]\n", "expected numbers in brackets, found ',2'"),
        ("[ \u0661 ]\n", "expected numbers in brackets"),
        ("[ 0x10 ]\n", "expected numbers in brackets, found 'x10'"),
        ("[ ten ]\n", "not a number"),
        ("[ 1e40 ]\n", "too large a number"),
        ("[ 1e ]\n", "not a number"),
        ("[ " + "1" * 1000 + " ]\n", "not a number"),
        ("[ 1 2", "the file ends inside a matrix in text form"),
        ("FM 1 2 [ 1 2 ]\n", "expected a matrix or a vector, found something else"),
        ("", "the archive ends behind the utterance utt-a"),
    ],
)
def test_malformed_text_matrices(folder: Path, text: str, message: str) -> None:
    (folder / "t.ark").write_text(f"utt-a {text}" if text else "utt-a")
    with pytest.raises((DataError, FormatError), match=message) as caught:
        list(read_matrices("ark:t.ark"))
    assert "t.ark, byte " in str(caught.value) and "\n" not in str(caught.value)


def test_a_text_vector_stands_on_one_line(folder: Path) -> None:
    (folder / "t.ark").write_text("utt [\n 1 2\n 3 4 ]\n")
    with pytest.raises(
        DataError, match=r"utterance utt: .*expected a vector, which stands on one line, found a matrix"
    ):
        list(read_vectors("ark:t.ark"))


@pytest.mark.parametrize("rspecifier", ["scp:a.scp", "ark:a.ark", "ark:t.ark"])
def test_random_access(folder: Path, rspecifier: str) -> None:
    table = RandomAccessMatrices(rspecifier)
    for key in ("utt-b", "utt-a", "utt-b"):
        assert key in table
        np.testing.assert_allclose(table.get(key), DATA[key], atol=1e-6)
    assert "utt-c" not in table
    with pytest.raises(DataError, match="utt-c"):
        table.get("utt-c")


def test_nothing_appears_under_the_final_name_when_writing_fails(folder: Path) -> None:
    with pytest.raises(RuntimeError), matrix_writer("ark,scp:out.ark,out.scp") as writer:
        writer.write("utt", DATA["utt-a"])
        raise RuntimeError
    assert not list(folder.glob("*out*"))
    assert not list(folder.glob(".*"))


def test_keys_are_checked(folder: Path) -> None:
    with matrix_writer("ark:out.ark") as writer:
        writer.write("utt", DATA["utt-a"])
        for key in ("utt", "", "two words", " utt"):
            with pytest.raises(DataError):
                writer.write(key, DATA["utt-a"])


def test_writing_into_a_command_and_a_device(folder: Path) -> None:
    with pytest.raises(UsageError, match="--allow-pipes"), matrix_writer("ark:| cat > out.ark"):
        pass
    with matrix_writer("ark:| cat > out.ark", allow_pipes=True) as writer:
        writer.write("utt-a", DATA["utt-a"])
    assert len(list(read_matrices("ark:out.ark"))) == 1
    with pytest.raises(DataError, match="status 4"), matrix_writer("ark:| exit 4", allow_pipes=True):
        pass
    with matrix_writer("ark:/dev/null") as writer:
        writer.write("utt-a", DATA["utt-a"])
    assert Path("/dev/null").is_char_device()


def test_an_unwritable_folder(folder: Path) -> None:
    (folder / "file").write_text("")
    with pytest.raises(DataError, match="cannot write"), matrix_writer("ark:file/out.ark"):
        pass


def test_damaged_archives_end_in_values_or_one_sentence(example: Path, folder: Path) -> None:
    """Flips bytes and cuts the example's features at seeded places."""
    source = (example / "data" / "dev_hires" / "feats.ark").read_bytes()[:40000]
    random.seed(7)
    for trial in range(200):
        data = bytearray(source)
        if trial % 2:
            for _ in range(20):
                data[random.randrange(len(data))] = random.randrange(256)
            # Headers are a small part of the file: aim at one of them too.
            data[random.randrange(40)] = random.randrange(256)
        else:
            del data[random.randrange(len(data)) :]
        (folder / "bad.ark").write_bytes(data)
        try:
            for _key, values in read_matrices("ark:bad.ark"):
                assert values.nbytes <= 4 * len(data)
        except (DataError, FormatError) as error:
            assert "bad.ark" in str(error)
            assert "\n" not in str(error)


def test_kaldi_features_have_the_lengths_that_kaldi_counted(example: Path) -> None:
    data = example / "data" / "test_hires"
    lengths = dict(line.split() for line in (data / "utt2num_frames").read_text().splitlines())
    found = {key: str(len(values)) for key, values in read_matrices(f"scp:{data}/feats.scp")}
    assert found == lengths


@pytest.mark.parametrize(("most", "found"), [(0, 7), (3, 3), (6, 6), (7, 7), (50, 7)])
def test_evenly_chosen_entries_of_a_script(tmp_path: Path, most: int, found: int) -> None:
    matrices = {f"u{number}": np.full((2, 3), number, np.float32) for number in range(7)}
    kaldiio.save_ark(str(tmp_path / "m.ark"), matrices, scp=str(tmp_path / "m.scp"))
    names = [name for name, _ in read_matrices(f"scp:{tmp_path}/m.scp", most=most)]
    assert len(names) == found and names[0] == "u0"
    steps = np.diff([int(name[1:]) for name in names])
    assert steps.max() - steps.min() <= 1


@pytest.mark.parametrize("most", [1, 2, 3, 4, 6, 7, 50])
def test_evenly_chosen_entries_of_an_archive(tmp_path: Path, most: int) -> None:
    matrices = {f"u{number}": np.full((2, 3), number, np.float32) for number in range(23)}
    kaldiio.save_ark(str(tmp_path / "m.ark"), matrices)
    names = [name for name, _ in read_matrices(f"ark:{tmp_path}/m.ark", most=most)]
    assert min(most, 23) / 2 <= len(names) <= most
    assert len(set(np.diff([int(name[1:]) for name in names]))) <= 1
