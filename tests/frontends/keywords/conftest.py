"""A folder of words that all tests of keywords share."""

from pathlib import Path

import pytest

from tests.conftest import needs
from tests.frontends.keywords.toy_words import toy_words


@pytest.fixture(scope="session")
def words(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three words of one speaker."""
    needs("soundfile")
    return toy_words(tmp_path_factory.mktemp("words"))
