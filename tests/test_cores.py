"""The cores that a process may use, and what its libraries are told."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from kaldi_quant import cores
from kaldi_quant.cores import ONE_THREAD, prepare_libraries, threads_of_jobs


@pytest.fixture(autouse=True)
def sixteen_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)), raising=False)


def found(tmp_path: Path, own: str, **files: str) -> int:
    for name, content in files.items():
        path = tmp_path / "fs" / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.with_name(path.name.replace("cpu_", "cpu.")).write_text(content)
    (tmp_path / "own").write_text(own)
    return cores.cores(tmp_path / "fs", tmp_path / "own")


@pytest.mark.parametrize(
    ("quota", "expected"), [("400000 100000\n", 4), ("250000 100000\n", 3), ("10000 100000\n", 1), ("max 100000\n", 16)]
)
def test_a_quota_of_cgroup_2(quota: str, expected: int, tmp_path: Path) -> None:
    assert found(tmp_path, "0::/\n", cpu_max=quota) == expected


def test_the_strictest_of_all_groups_above(tmp_path: Path) -> None:
    files = {"a__cpu_max": "300000 100000", "a__b__cpu_max": "max 100000", "a__b__c__cpu_max": "800000 100000"}
    assert found(tmp_path, "0::/a/b/c\n", **files) == 3


def test_a_quota_of_cgroup_1(tmp_path: Path) -> None:
    files = {"cpu__jobs__cpu_cfs_quota_us": "500000\n", "cpu__jobs__cpu_cfs_period_us": "100000\n"}
    files |= {"cpu__cpu_cfs_quota_us": "-1\n", "cpu__cpu_cfs_period_us": "100000\n"}
    assert found(tmp_path, "5:memory:/x\n4:cpu,cpuacct:/jobs\n", **files) == 5


def test_more_than_the_cores_of_the_machine_is_no_gain(tmp_path: Path) -> None:
    assert found(tmp_path, "0::/\n", cpu_max="9900000 100000") == 16


@pytest.mark.parametrize("own", ["", "0::/gone\n", "nonsense\n", "0::\n"])
def test_without_cgroups_it_is_what_the_process_is_bound_to(own: str, tmp_path: Path) -> None:
    assert found(tmp_path, own, cpu_max="broken") == 16


def test_what_the_user_has_set_stays() -> None:
    environment = {"OMP_NUM_THREADS": "7"}
    prepare_libraries(environment)
    assert environment["OMP_NUM_THREADS"] == "7" and environment["GOMP_SPINCOUNT"] == "1500"
    other: dict[str, str] = {}
    prepare_libraries(other)
    assert other["OMP_NUM_THREADS"] == str(cores.cores()) and other["OPENBLAS_NUM_THREADS"] == "1"


@pytest.mark.parametrize(
    ("jobs", "wanted", "here", "threads"),
    [(4, 0, True, 1), (4, 0, False, 1), (4, 3, True, 3), (4, 9, True, 4), (32, 9, True, 1), (32, 9, False, 9)],
)
def test_jobs_on_this_machine_share_its_cores(jobs: int, wanted: int, here: bool, threads: int) -> None:
    assert threads_of_jobs(jobs, wanted, here) == dict.fromkeys(ONE_THREAD, str(threads))


def test_a_command_has_set_it_before_torch_is_loaded() -> None:
    code = (
        "import sys; sys.argv = ['kaldi-quant', '--version']\n"
        "from kaldi_quant.cli.main import main\n"
        "assert 'torch' not in sys.modules and 'numpy' not in sys.modules\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "import os; print(os.environ['GOMP_SPINCOUNT'])"
    )
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("OMP", "GOMP", "KMP"))}
    done = subprocess.run([sys.executable, "-c", code], env=clean, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "1500"
