"""Minibatches of training: changed at random, and yet the same whenever they are asked for."""

from pathlib import Path

import pytest
import torch

from kaldi_quant.frontends.keywords.data import read_keywords
from kaldi_quant.frontends.keywords.examples import Changes, Examples, accuracy, cross_entropy, one_hot

CHANGES = Changes(shift=0.1, speed=0.1, gain=6.0, noise=20.0)


def examples(words: Path, **options: object) -> Examples:
    return Examples(read_keywords(words).train, 3, 8000, 20, **options)  # type: ignore[arg-type]


def test_passes_differ_and_can_be_repeated(words: Path) -> None:
    found = examples(words, changes=CHANGES)
    first, second, again = (torch.cat([x for x, _ in found.minibatches(number)]) for number in (0, 1, 0))
    assert first.shape == (48, 1, 8000) and len(found) == 3
    assert torch.equal(first, again) and not torch.equal(first, second)


def test_changes_do_what_they_say() -> None:
    waves, generator = torch.zeros(200, 1, 1000), torch.Generator().manual_seed(0)
    waves[:, :, 500] = 1.0
    moved = Changes(shift=0.1).apply(waves, 1000, generator)
    places = moved.argmax(2).flatten()
    assert (
        float(moved.sum()) == pytest.approx(200, rel=1e-3)
        and places.min() >= 400
        and places.max() <= 600
        and len(places.unique()) > 50
    )
    louder = 20 * Changes(gain=6.0).apply(waves, 1000, generator).amax(2).log10()
    assert louder.min() >= -6.01 and louder.max() <= 6.01 and louder.std() > 2
    tone = torch.sin(torch.arange(1000.0)).expand(200, 1, 1000)
    noise = Changes(noise=20.0).apply(tone, 1000, generator) - tone
    below = 20 * (tone.pow(2).mean(2) / noise.pow(2).mean(2)).sqrt().log10()
    assert below.min() > 19 and below.max() < 61


def test_recordings_become_faster_and_slower() -> None:
    tone = torch.sin(torch.arange(4000) * 0.2).expand(50, 1, 4000)
    faster = Changes(speed=0.1).apply(tone, 1000, torch.Generator().manual_seed(0))
    crossings = (faster[:, 0, 1:3500] * faster[:, 0, :3499] < 0).sum(1) / (3500 * 0.2 / torch.pi)
    assert 0.89 < crossings.min() < 0.93 and 1.07 < crossings.max() < 1.11


def test_a_teacher_has_its_share(words: Path) -> None:
    def teacher(waves: torch.Tensor) -> torch.Tensor:
        return torch.tensor([0.5, 0.25, 0.25]).log().expand(len(waves), 1, 3)

    plain, taught = examples(words), examples(words, teacher=teacher, share=0.5)
    for (_, labels), (_, answers) in zip(plain.minibatches(0), taught.minibatches(0), strict=True):
        torch.testing.assert_close(answers, (labels + torch.tensor([0.5, 0.25, 0.25])) / 2)


def test_of_labels_the_loss_is_nll() -> None:
    output, labels = torch.randn(5, 1, 4).log_softmax(2), torch.tensor([0, 3, 1, 1, 2])
    expected = torch.nn.functional.nll_loss(output.squeeze(1), labels)
    torch.testing.assert_close(cross_entropy(output, one_hot(labels, 4)), expected)
    right = (output.squeeze(1).argmax(1) == labels).float().mean()
    assert accuracy(output, one_hot(labels, 4)) == pytest.approx(float(right))


def test_other_data_have_another_digest(words: Path) -> None:
    assert examples(words).digest() == examples(words).digest()
    assert examples(words).digest() != examples(words, changes=CHANGES).digest()
