"""Items that stay for several passes, and places in a sequence."""

import pytest

from kaldi_quant.frontends.items import Kept, check_index


class Numbered:
    """Items that say of which pass they are, and how often one was made."""

    def __init__(self) -> None:
        self.made = 0

    def __len__(self) -> int:
        return 3

    def item(self, index: int, number_of_pass: int) -> tuple[int, int]:
        self.made += 1
        return index, number_of_pass

    def digest(self) -> str:
        return "numbered"


def test_items_are_kept_for_some_passes() -> None:
    source = Numbered()
    kept = Kept(source, 3)
    assert [kept.item(1, number) for number in range(7)] == [(1, 0)] * 3 + [(1, 1)] * 3 + [(1, 2)]
    assert source.made == 3 and len(kept) == 3
    assert kept.item(2, 6) == (2, 2) and kept.digest() not in (source.digest(), Kept(source, 2).digest())


def test_places_count_from_either_end() -> None:
    assert [check_index(index, 3) for index in (0, 2, -1, -3)] == [0, 2, 2, 0]
    for index in (3, -4):
        with pytest.raises(IndexError, match=f"there are 3 items, and none of number {index}"):
            check_index(index, 3)
