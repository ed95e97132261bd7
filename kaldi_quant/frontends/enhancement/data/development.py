"""Which part of training becomes development, where a layout has none: speakers, or pairs of a seeded draw."""

from __future__ import annotations

from collections.abc import Sequence

from kaldi_quant.errors import DataError
from kaldi_quant.frontends.enhancement.data.reading import ReadOptions, kept
from kaldi_quant.frontends.enhancement.data.recorded import RecordedPair, RecordedPairs
from kaldi_quant.frontends.synthetic.seeds import seeded

_DEV = "dev"


def divided(files: Sequence[RecordedPair], options: ReadOptions) -> tuple[RecordedPairs, RecordedPairs]:
    """Training and development.

    Development has whole speakers where at least two are known, else single pairs: about ``validation_share`` of
    either, and at least one; then as many pairs of each are kept as are asked for.

    Args:
        files: the pairs, with their speakers.
        options: shares, numbers, and the seed of all draws.

    Raises:
        DataError: there is but one pair, or a file is not as it must be.
    """
    if len(files) < 2:
        raise DataError(f"{files[0].clean.parent} has one pair, expected two or more: one of them is for development")
    known = sorted({pair.speaker for pair in files})
    by_speaker = len(known) > 1 and "" not in known
    groups = [pair.speaker if by_speaker else pair.name for pair in files]
    there = sorted(set(groups))
    count = min(len(there) - 1, max(1, round(options.validation_share * len(there))))
    drawn = seeded(options.random_seed, _DEV).permutation(len(there))[:count]
    chosen = {there[place] for place in drawn}
    parts = {
        "train": [pair for pair, group in zip(files, groups, strict=True) if group not in chosen],
        _DEV: [pair for pair, group in zip(files, groups, strict=True) if group in chosen],
    }
    train, dev = (kept(pairs, options.numbers[split], split, options.random_seed) for split, pairs in parts.items())
    return RecordedPairs(train, options.sample_rate), RecordedPairs(dev, options.sample_rate)
