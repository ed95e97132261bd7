"""Integer models with seeded faults, the checksum made anew: a right result, or one sentence.

More by hand: ``FUZZ_SEED=1000 FUZZ_CASES=5000 pytest tests/formats/test_artefact_faults.py``.
"""

import os
from pathlib import Path

import numpy as np
import pytest

from kaldi_quant.bad_utterances import BadUtterances
from kaldi_quant.formats import container
from kaldi_quant.formats.artefact import load, save
from kaldi_quant.formats.container import read_container, write_container
from kaldi_quant.formats.dequantized import write_dequantized
from kaldi_quant.formats.network_without_weights import compressed
from kaldi_quant.kaldi.model import read_model
from kaldi_quant.nnet3.inference import Inference
from tests.formats.faults import fault_in_description, fault_in_tensors
from tests.formats.quantized_examples import OPTIONS, quantized
from tests.fuzzing import answer, corrupt

pytestmark = [
    # A warning of numpy on standard error is no answer.
    pytest.mark.filterwarnings("error::RuntimeWarning"),
    pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="memory is measured through Linux's /proc"),
]

FIRST_SEED = int(os.environ.get("FUZZ_SEED", "0"))
CASES = int(os.environ.get("FUZZ_CASES", "0"))

SOURCES = [
    ("priors_mdl", "w8"),
    ("conv_usual", "w3-affine"),
    ("ivector_utterance", "dynamic"),
    ("fast_lstmp", "w4"),
    ("resnet_bypasses", "mixed"),
    ("tdnn_lda", "weights-only"),
]


def seeds(number: int) -> range:
    return range(FIRST_SEED, FIRST_SEED + (CASES or number))


@pytest.fixture(scope="module", params=range(len(SOURCES)), ids=lambda index: SOURCES[index][0])
def source(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("whole") / "q.safetensors", *SOURCES[request.param])


def written(path: Path, name: str, config: str) -> Path:
    model, network, _ = quantized(name, config)
    save(path, network, model, {"frame_subsampling_factor": 3})
    return path


def use(path: Path) -> None:
    """Reads an integer model, computes one short utterance, writes its dequantized form and reads that."""
    artefact = load(path)
    network = artefact.network.model()
    feats = np.random.default_rng(0).standard_normal((20, network.input_dim)).astype(np.float32)
    ivector = np.zeros(network.ivector_dim, np.float32)
    bad = BadUtterances()
    rows = dict(Inference(network, None, OPTIONS, lambda _: ivector, bad).compute([("utt", feats)]))
    bad.check()
    assert rows["utt"].shape == (7, network.output_dim) and np.isfinite(rows["utt"]).all()
    written = write_dequantized(path.parent / "dequantized.mdl", artefact)
    assert read_model(written).getvalue() == written.read_bytes()


def check(path: Path) -> str:
    # Log-likelihoods that are not finite are an answer on the utterances.
    return answer(lambda: use(path), (str(path), str(path.parent / "dequantized.mdl"), "utterances could be used"))


def test_descriptions_and_tensors(source: Path, tmp_path: Path) -> None:
    found = read_container(source)
    path, answers = tmp_path / "q.safetensors", []
    for seed in seeds(60):
        rng = np.random.default_rng(seed)
        content, tensors = found.content, found.tensors
        if rng.random() < 0.5:
            content = fault_in_description(content, rng)
        else:
            tensors = fault_in_tensors(tensors, rng)
        write_container(path, tensors, content)
        answers.append(check(path))
    assert len(set(answers)) > 10


def test_bytes(source: Path, tmp_path: Path) -> None:
    data, path = source.read_bytes(), tmp_path / "q.safetensors"
    for seed in seeds(40):
        broken = corrupt(data, seed)
        path.write_bytes(broken)
        assert check(path) or broken == data


def test_a_small_file_does_not_become_a_large_one(tmp_path: Path) -> None:
    path = written(tmp_path / "q.safetensors", *SOURCES[0])
    found = read_container(path)
    tensors = {**found.tensors, "network": compressed(bytes(1 << 26))}
    write_container(path, tensors, found.content)
    assert "not one whole compressed stream of a believable size" in check(path)


def test_nor_does_its_description(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path / "q.safetensors", *SOURCES[0])
    found = read_container(path)
    with monkeypatch.context() as patch:
        patch.setattr(container, "compressed", lambda _: compressed(bytes(1 << 26)))
        write_container(path, found.tensors, found.content)
    assert "(description): it is not one whole compressed stream of a believable size" in check(path)
