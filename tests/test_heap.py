"""Memory that is freed goes back to the system."""

import subprocess
import sys

import pytest

# Blocks of 8 MB, every second of which is freed: without more ado those between the others stay with the process.
_HOLES = """
import sys
import torch
from kaldi_quant import heap
def kept():
    return int(next(line for line in open("/proc/self/status") if line.startswith("VmRSS")).split()[1]) / 1024
way = sys.argv[1]
torch.zeros(30 << 18)  # freed at once: from now on blocks of that size come from the heap
heap._MOST_GROWTH = {"grown much": 100 << 20, "grown little": 400 << 20}.get(way, 0)
growth = heap.Growth()
blocks = [torch.ones(2 << 20) for _ in range(40)]
before = kept()
del blocks[::2]
if way == "given back":
    heap.give_back_freed_memory()
if way.startswith("grown"):
    growth.check()
print(before - kept())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="of Linux and its C library")
@pytest.mark.parametrize(
    ("way", "freed"), [("as ever", False), ("given back", True), ("grown little", False), ("grown much", True)]
)
def test_holes(way: str, freed: bool) -> None:
    done = subprocess.run([sys.executable, "-c", _HOLES, way], capture_output=True, text=True, check=True)
    assert (float(done.stdout) > 140) is freed
