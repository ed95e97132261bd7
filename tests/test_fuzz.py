"""Corrupt files at seeded places: every one is answered by a right result or by one sentence.

Some hundred seeds for models, archives, scripts, graphs and symbol tables each; more by hand:
``FUZZ_SEED=1000 FUZZ_CASES=5000 pytest tests/test_fuzz.py``.
"""

import ast
import os
import re
import shutil
import struct
import wave
from pathlib import Path

import numpy as np
import pytest

from kaldi_quant.bad_utterances import BadUtterances
from kaldi_quant.decode.checks import check_graph, check_loglikes
from kaldi_quant.errors import DataError
from kaldi_quant.kaldi.edits import apply_edits
from kaldi_quant.kaldi.fst_file import FstFile
from kaldi_quant.kaldi.info import model_lines, nnet_lines
from kaldi_quant.kaldi.model import Model, read_model
from kaldi_quant.kaldi.tables import read_matrices
from kaldi_quant.kaldi.text import read_text
from kaldi_quant.kaldi.text_tables import read_symbol_table
from kaldi_quant.kaldi.transition_model import read_transition_model
from kaldi_quant.kaldi.wave_reader import WaveData
from kaldi_quant.kaldi.waves import read_waves
from kaldi_quant.nnet3.chunks import ChunkOptions
from kaldi_quant.nnet3.inference import Inference, InferenceOptions
from kaldi_quant.nnet3.model import AcousticModel
from tests.fuzzing import answer, corrupt, in_child, reworded
from tests.references import COMPONENTS, DATA, MODELS, NNET3, model_file
from tests.wav_files import chunk, extensible_format, wav_file

pytestmark = [
    # A warning of numpy on standard error is no answer.
    pytest.mark.filterwarnings("error::RuntimeWarning"),
    pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="memory is measured through Linux's /proc"),
]

FIRST_SEED = int(os.environ.get("FUZZ_SEED", "0"))
CASES = int(os.environ.get("FUZZ_CASES", "0"))


def seeds(number: int) -> range:
    """The seeds of a test, ``number`` of them if the environment does not ask for more."""
    return range(FIRST_SEED, FIRST_SEED + (CASES or number))


def _execute(path: Path) -> None:
    """Reads a model, describes it, computes one short utterance, and writes the model back."""
    model = read_model(path)
    assert all("\n" not in line for line in (*model_lines(model), *nnet_lines(model.nnet)))
    network = AcousticModel(model.nnet)
    feats = np.random.default_rng(0).standard_normal((20, network.input_dim)).astype(np.float32)
    ivector = np.zeros(network.ivector_dim, np.float32)
    bad = BadUtterances()
    inference = Inference(network, model.priors, InferenceOptions(ChunkOptions(3)), lambda _: ivector, bad)
    rows = dict(inference.compute([("utt", feats)]))
    bad.check()
    assert rows["utt"].shape == (7, network.output_dim)
    assert np.isfinite(rows["utt"]).all()
    model.getvalue(binary=True)
    model.getvalue(binary=False)


def _fuzz_models(sources: list[Path], path: Path, cases: range) -> list[str]:
    answers = []
    for seed in cases:
        path.write_bytes(corrupt(sources[seed % len(sources)].read_bytes(), seed))
        # Log-likelihoods that are not finite are an answer on the utterances.
        answers.append(answer(lambda: _execute(path), (str(path), "utterances could be used")))
    return answers


def test_models_of_all_topologies(tmp_path: Path) -> None:
    sources = [model_file(NNET3 / name) for name in MODELS]
    answers = _fuzz_models(sources, tmp_path / "final.mdl", seeds(400))
    assert "" in answers and len(set(answers)) > len(answers) // 3


def test_the_example_model(example: Path, tmp_path: Path) -> None:
    sources = [model_file(example / "exp" / "chain" / name) for name in ("tdnn1a_sp", "tdnnf1b_sp")]
    assert "" in _fuzz_models(sources, tmp_path / "final.mdl", seeds(60))


def test_models_in_text_form(tmp_path: Path) -> None:
    sources = sorted(NNET3.glob("*/final.txt"))
    assert len(sources) >= 5
    assert "" in _fuzz_models(sources, tmp_path / "final.txt", seeds(100))


@pytest.mark.parametrize("form", ["raw", "txt"])
def test_single_components(tmp_path: Path, form: str) -> None:
    sources = sorted(path for path in COMPONENTS.glob(f"*.{form}") if path.name != "cmd.txt")
    assert "" in _fuzz_models(sources, tmp_path / f"component.{form}", seeds(200))


def test_edits(tmp_path: Path) -> None:
    """An edited network is consistent and can be written and read again."""
    nnet = read_model(NNET3 / "tdnnf_small" / "final.raw").nnet
    texts = [path.read_text().splitlines()[0] for path in sorted((DATA / "info").glob("edits.*.txt"))]
    sources = [ast.literal_eval(text).replace(";", "\n").encode() for text in texts]
    path, written = tmp_path / "edits", tmp_path / "edited.raw"

    def edit() -> None:
        edited = apply_edits(nnet, read_text(path), f"--edits-config {path}")
        written.write_bytes(Model(edited, None, True, "").getvalue())
        again = read_model(written).nnet
        assert again.nodes == edited.nodes and again.components.keys() == edited.components.keys()

    answers = []
    for seed in seeds(400):
        path.write_bytes(reworded(sources[seed % len(sources)], seed))
        answers.append(answer(edit, (str(path),)))
    assert answers.count("") > len(answers) // 20 and len(set(answers)) > len(answers) // 10


def test_archives(example: Path, tmp_path: Path) -> None:
    folder = example / "data" / "dev_hires"
    sixth, place = (folder / "feats.scp").read_text().splitlines()[5].split()
    source = (folder / "feats.ark").read_bytes()[: int(place.split(":")[1]) - len(f"{sixth} ")]
    path = tmp_path / "feats.ark"

    def read() -> None:
        for _, values in read_matrices(f"ark:{path}"):
            assert values.dtype == np.float32
            assert values.nbytes <= 4 * len(source)

    answers = []
    for seed in seeds(300):
        path.write_bytes(corrupt(source, seed))
        answers.append(answer(read, (str(path),)))
    assert "" in answers and len(set(answers)) > 20


# Values at which the reading of a wav header changes its ways.
_SIZES = [0, 1, 2, 3, 15, 16, 39, 40, 255, 65535, 65534, 0x7FFFF000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF]


def _corrupt_header(data: bytes, seed: int) -> bytes:
    """Another number in a wav header, or any other fault."""
    if seed % 2:
        return corrupt(data, seed)
    rng = np.random.default_rng(seed)
    place = 2 * int(rng.integers(2, 40))
    value = _SIZES[int(rng.integers(len(_SIZES)))]
    size = 2 if value < 65536 and rng.random() < 0.5 else 4
    return data[:place] + value.to_bytes(size, "big" if data[:4] == b"RIFX" else "little") + data[place + size :]


def _samples_by_python(path: Path) -> np.ndarray | None:
    """What Python's own module reads of a file, (samples, channels); None where it refuses that."""
    try:
        with wave.open(str(path), "rb") as reader:
            channels = reader.getnchannels()
            if reader.getsampwidth() != 2:
                return None
            data = reader.readframes(min(reader.getnframes(), 1 << 16))
    except (wave.Error, EOFError, RuntimeError, ValueError, struct.error):
        return None
    return np.frombuffer(data[: len(data) // (2 * channels) * 2 * channels], "<i2").reshape(-1, channels)


def test_wav_headers(tmp_path: Path) -> None:
    """Up to features, of whatever sampling frequency the header claims."""
    pytest.importorskip("kaldi_native_fbank")
    from kaldi_quant.kaldi.mfcc import Mfcc
    from kaldi_quant.kaldi.mfcc_options import MfccOptions

    extractor = Mfcc(MfccOptions(allow_downsample=True, allow_upsample=True, use_energy=False))
    samples = np.random.default_rng(0).integers(-(2**15), 2**15, (600, 2)).astype(np.int16)
    sources = [
        wav_file(samples),
        wav_file(samples[:, 0], before_format=chunk(b"JUNK", bytes(6)), before_data=chunk(b"fact", bytes(4))),
        wav_file(samples, big_endian=True),
        wav_file(samples, extensible_format(channels=2)),
        wav_file(samples[:, 0], riff_size=0, data_size=0, before_data=chunk(b"LIST", b"INFOx") + b"\0"),
    ]
    path, script, archive = (tmp_path / name for name in ("a.wav", "wav.scp", "wav.ark"))
    script.write_text(f"utt {path}\n")
    found: list[WaveData] = []

    def read() -> None:
        for rspecifier in (f"scp:{script}", f"ark:{archive}"):
            for _, audio in read_waves(rspecifier):
                assert audio.samples.dtype == np.int16 and audio.rate > 0
                assert 0 < audio.samples.nbytes <= len(data) + len(sources[0])
                found.append(audio)
                try:
                    assert np.isfinite(extractor.compute("utt", audio)).all()
                except DataError as error:
                    assert str(error).startswith("utterance utt: ")

    answers, compared = [], 0
    for seed in seeds(700):
        data = _corrupt_header(sources[seed // 2 % len(sources)], seed)
        path.write_bytes(data)
        archive.write_bytes(b"utt " + data + (b"" if seed % 3 else b"second " + sources[0]))
        found.clear()
        answers.append(answer(read, (str(path), str(archive))))
        expected = _samples_by_python(path) if found else None
        if expected is not None and len(expected):
            common = min(len(expected), found[0].samples.shape[1])
            np.testing.assert_array_equal(found[0].samples.T[:common], expected[:common])
            compared += 1
    assert answers.count("") > 100 and len(set(answers)) > 50
    assert compared > 100 or CASES


_TEXT_MATRICES = b"""utt-a  [
  1.5 -2 3e1
  0.25 nan 6 ]
utt-b  [ ]
utt-c [ 1 2 3 ; 4 5 6 ]
utt-d [ 7 8 inf ]
utt-e [
 1 2 3
 4 5 6
]
"""


def _matrices_by_hand(data: bytes) -> dict[str, np.ndarray]:
    """The entries of an archive in text form that is in order."""
    entries = {}
    for key, body in re.findall(rb"\s*(\S+)\s+\[([^\]]*)\]", data):
        rows = [[float(word) for word in row.split()] for row in re.split(rb"[\n;]", body)]
        rows = [row for row in rows if row]
        entries[key.decode("utf-8", "surrogateescape")] = np.array(rows or np.zeros((0, 0)), np.float32)
    return entries


def test_matrices_in_text_form(tmp_path: Path) -> None:
    path = tmp_path / "feats.txt"
    found: dict[str, np.ndarray] = {}

    def read() -> None:
        found.update(read_matrices(f"ark:{path}"))

    answers = []
    for seed in seeds(700):
        data = corrupt(_TEXT_MATRICES, seed)
        path.write_bytes(data)
        found.clear()
        answers.append(answer(read, (str(path),)))
        if not answers[-1]:
            expected = _matrices_by_hand(data)
            assert list(found) == list(expected)
            for key, values in found.items():
                np.testing.assert_array_equal(values, expected[key])
    assert answers.count("") > 100 and len(set(answers)) > 30


def test_scripts(example: Path, tmp_path: Path) -> None:
    """A script's bad entries are left out, each with a reason."""
    folder = example / "data" / "dev_hires"
    shutil.copy(folder / "feats.ark", tmp_path / "feats.ark")
    lines = (folder / "feats.scp").read_text().splitlines()[:5]
    source = "".join(f"{line.split()[0]} feats.ark:{line.split(':')[1]}\n" for line in lines).encode()
    path = tmp_path / "feats.scp"
    reasons: list[str] = []

    def read() -> None:
        for _, values in read_matrices(f"scp:{path}", on_bad=lambda _, error: reasons.append(str(error))):
            assert values.ndim == 2

    for seed in seeds(300):
        path.write_bytes(corrupt(source, seed))
        answer(read, (str(path), str(tmp_path)))
    assert [reason for reason in reasons if "\n" in reason or not reason.startswith("utterance ")] == []
    assert len(reasons) > 100


class _Decoder:
    """Decodes one short utterance with a graph and words that may be corrupt."""

    def __init__(self, example: Path, folder: Path) -> None:
        experiment = example / "exp" / "chain" / "tdnn1a_sp"
        self.trans_model = str(experiment / "0.trans_mdl")
        self.model = read_transition_model(self.trans_model)
        self.graph, self.words = folder / "HCLG.fst", folder / "words.txt"
        for name in (self.graph.name, self.words.name):
            shutil.copy(experiment / "graph_alphadigits" / name, folder / name)
        archive = example / "reference" / "nnet3_compute.test_first4.ark"
        self.loglikes = next(rows for _, rows in read_matrices(f"ark:{archive}"))[:30]

    def check(self) -> None:
        """What the command does before it starts a job."""
        symbols = read_symbol_table(str(self.words))
        check_graph(FstFile(self.graph), str(self.graph), self.model, self.trans_model, symbols, str(self.words))
        assert check_loglikes("utt", self.loglikes, self.model.num_pdfs) is None

    def decode(self) -> None:
        """What a job does, in this process; the command starts one of its own for it."""
        from kaldi_quant.decode.embedded_decoder import EmbeddedDecoder
        from kaldi_quant.decode.graph import load_graph
        from kaldi_quant.decode.options import DecodeOptions

        graph, folder = load_graph(str(self.graph)), self.graph.parent
        decoder = EmbeddedDecoder(graph, self.model.transition_id_to_pdf, DecodeOptions(), folder)
        try:
            decoder.decode("utt", self.loglikes)
        except DataError as error:
            assert "\n" not in str(error)

    def answer(self) -> str:
        """What the command would say, "" for lattices."""
        sentence = answer(self.check, (str(self.graph), str(self.words)))
        if not sentence:
            in_child(self.decode)
        return sentence


@pytest.mark.parametrize("name", ["HCLG.fst", "words.txt"])
def test_graph_and_words(example: Path, tmp_path: Path, name: str) -> None:
    pytest.importorskip("kaldi_decoder")
    decoder = _Decoder(example, tmp_path)
    assert decoder.answer() == ""
    source = (tmp_path / name).read_bytes()
    answers = []
    for seed in seeds(200):
        (tmp_path / name).write_bytes(corrupt(source, seed))
        answers.append(decoder.answer())
    assert "" in answers and len(set(answers)) > 10
