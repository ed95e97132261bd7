"""Some frames of many utterances, drawn evenly from all of them: a calibration set of the size that is wanted."""

from __future__ import annotations

import math
from dataclasses import replace

from kaldi_quant.kaldi.nnet import Nnet
from kaldi_quant.nnet3.chunks import ChunkOptions, cut
from kaldi_quant.nnet3.model import AcousticModel
from kaldi_quant.nnet3.utterances import UtteranceSet
from kaldi_quant.units import Frames

#: Frames of a chunk: those of Kaldi's chain examples.
CHUNK: Frames = 150

# The fractional parts of its multiples are spread most evenly.
_GOLDEN_RATIO = (5**0.5 - 1) / 2


def drawn(utterances: UtteranceSet, nnet: Nnet, frames: Frames) -> UtteranceSet:
    """Chunks of utterances, or whole ones, with about so many frames.

    All utterances, one behind the other, are cut into chunks, of which one in so many is taken: few frames still come
    from many speakers. Chunks are computed with the context that they have in their utterance. A network whose output
    depends on all that was said before gets whole utterances.

    Args:
        utterances: to draw from.
        nnet: the network that computes them.
        frames: how many; all where there are no more.
    """
    total = utterances.amount()
    if total <= frames:
        return utterances
    model = AcousticModel(nnet)
    chunks = utterances.options.chunks
    if not chunks.frames_per_chunk and not model.graph.has_optional_inputs:
        unit = math.lcm(chunks.frame_subsampling_factor, model.context.modulus)
        chunks = replace(chunks, frames_per_chunk=-(-CHUNK // unit) * unit)
    places = [
        (name, number)
        for name, feats in utterances.utterances
        for number in range(_number_of_chunks(len(feats), model, chunks))
    ]
    wanted = max(1, round(frames * len(places) / total))
    chosen: dict[str, list[int]] = {}
    for place in range(wanted):
        # Anywhere within its share: even steps could meet each utterance at the same place, such as its beginning.
        name, number = places[int((place + place * _GOLDEN_RATIO % 1) * len(places) / wanted)]
        chosen.setdefault(name, []).append(number)
    return utterances.of_chunks(chunks, chosen)


def _number_of_chunks(frames: Frames, model: AcousticModel, chunks: ChunkOptions) -> int:
    # An utterance without frames is drawn like one chunk, and then left out with a warning.
    return len(cut(frames, model.context, chunks)) if frames else 1
