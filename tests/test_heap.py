"""What the C library keeps of freed memory."""

import json
import subprocess
import sys

import pytest

_TRAINING = """
import json, resource
from contextlib import nullcontext
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


@pytest.mark.skipif(sys.platform != "linux", reason="the C library is not GNU's")
def test_freed_memory_is_kept_as_long_as_that_is_wanted() -> None:
    ended = subprocess.run([sys.executable, "-c", _TRAINING], check=True, capture_output=True, text=True)
    found = json.loads(ended.stdout)
    if not found["usual"]:
        pytest.skip("the system counts no page faults")
    assert found["keeping"] < found["usual"] / 5
    assert found["afterwards"] > found["usual"] / 2
    # In pages: an array has 12,000 and more.
    assert found["growth"] < 3000
