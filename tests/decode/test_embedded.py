"""What the embedded back end says of options that it does not have."""

from pathlib import Path

import pytest

from kaldi_quant.decode.backend import DecodeTask
from kaldi_quant.decode.embedded import EmbeddedBackend
from kaldi_quant.decode.options import DecodeOptions
from kaldi_quant.decode.split import SplitTable

pytest.importorskip("kaldi_decoder")
pytest.importorskip("kaldifst")


@pytest.mark.parametrize(("options", "warnings"), [({}, 0), ({"max_active": 100, "min_active": 10}, 1)])
def test_limits_on_states(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, options: dict[str, int], warnings: int
) -> None:
    task = DecodeTask("m", "g", "w", SplitTable("ark:x", 1), tmp_path, DecodeOptions(**options))  # type: ignore[arg-type]
    EmbeddedBackend().prepare(task, 10)
    assert caplog.text.count("--max-active and --min-active have no effect") == warnings
