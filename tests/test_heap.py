"""Memory that is freed goes back to the system, or stays."""

import json
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

# Page faults of a loop that asks for the same arrays again and again.
_TRAINING = """
import json, resource
import numpy as np
from kaldi_quant.heap import keeping_freed_memory

def resident():
    return int(open("/proc/self/statm").read().split()[1])

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(30):
        several = [np.ones(size, np.float32) for size in (12_000_000, 16_000_000)]
        del several
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

before = resident()
found = {"usual": faults()}
with keeping_freed_memory():
    found["keeping"] = faults()
found |= {"afterwards": faults(), "growth": resident() - before}
print(json.dumps(found))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="of Linux and its C library")
@pytest.mark.parametrize(
    ("way", "freed"), [("as ever", False), ("given back", True), ("grown little", False), ("grown much", True)]
)
def test_holes(way: str, freed: bool) -> None:
    done = subprocess.run([sys.executable, "-c", _HOLES, way], capture_output=True, text=True, check=True)
    assert (float(done.stdout) > 140) is freed


@pytest.mark.skipif(sys.platform != "linux", reason="of Linux and its C library")
def test_freed_memory_is_kept_as_long_as_that_is_wanted() -> None:
    ended = subprocess.run([sys.executable, "-c", _TRAINING], check=True, capture_output=True, text=True)
    found = json.loads(ended.stdout)
    if not found["usual"]:
        pytest.skip("the system counts no page faults")
    assert found["keeping"] < found["usual"] / 5
    assert found["afterwards"] > found["usual"] / 2
    # In pages: an array has 12,000 and more.
    assert found["growth"] < 3000
