"""Makes all of the synthetic data: recordings of words, and clean sentences."""

from __future__ import annotations

from pathlib import Path

from kaldi_quant.frontends.keywords.synthetic.sentences import make_sentences
from kaldi_quant.frontends.keywords.synthetic.words import WordOptions, make_words
from kaldi_quant.frontends.synthetic.programs import check_programs

SENTENCES = "sentences"


def make_data(folder: Path, seed: int, options: WordOptions | None = None) -> str:
    """Writes the words into a folder, and sentences into its folder ``sentences``.

    Args:
        folder: where; files that are there are written over.
        seed: everything follows from it.
        options: how many words there are and what they are like.

    Returns:
        The SHA-256 of the words' samples before they are coded, in hex: the same for the same seed and versions of
        espeak-ng, flite, numpy, scipy and soxr.

    Raises:
        MissingDependencyError: espeak-ng or flite is not installed.
        DataError: one of them fails, or the folder cannot be written.
    """
    check_programs()
    digest = make_words(folder, seed, options)
    make_sentences(folder / SENTENCES, seed)
    return digest
