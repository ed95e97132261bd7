"""Processes that train together, as torchrun would start them."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


def free_ports(number: int) -> list[str]:
    """Ports of this machine that nobody listens on."""
    with socket.socket() as first, socket.socket() as second:
        for found in (first, second):
            found.bind(("127.0.0.1", 0))
        return [str(found.getsockname()[1]) for found in (first, second)][:number]


def run_in_group(script: str, words: list[str], port: str, size: int = 2) -> list[Any]:
    """What each process of a script prints, as JSON.

    Args:
        script: the file, run by each of them.
        words: its arguments.
        port: where they meet.
        size: how many there are.
    """
    processes = []
    for rank in range(size):
        given = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(size), "OMP_NUM_THREADS": "1"}
        place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "PYTHONPATH": str(ROOT)}
        environment = {**os.environ, **given, **place}
        command = [sys.executable, script, *words]
        processes.append(subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE))
    outputs = [process.communicate(timeout=120) for process in processes]
    for process, (_, errors) in zip(processes, outputs, strict=True):
        assert process.returncode == 0, errors.decode()
    return [json.loads(output) for output, _ in outputs]
