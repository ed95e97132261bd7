"""path.sh: which Python environment recipes get, how it is made and added to, and what is left when that is killed."""

import ast
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
# Those that the tests do without.
OPTIONAL = {"torchao", "vosk", "transformers", "huggingface_hub", "pesq", "mlflow"}

# A python3 that makes real environments, with a pip that has no network: see PIP.
PYTHON = """#!/bin/bash
case "$*" in
  "-m venv "*)
    echo "$*" >>"$LOG"
    "{python}" -m venv --without-pip "${{@:3}}" || exit
    [ "$KILL" != venv ] || kill -KILL 0
    exec "{python}" -c 'import shutil, sys; shutil.copytree(sys.argv[1], sys.argv[2])' "{pip}" "${{!#}}/{site}/pip"
    ;;
  *ensurepip*) ;;
  *) exec "{python}" "$@" ;;
esac
"""

# Installs empty packages in pip's own order, a package's INSTALLER last, and takes for installed what has METADATA. The
# package that KILL names is where it dies with all that called it; it waits for the file that PAUSE names.
PIP = """
import os, re, signal, sys, sysconfig, time
from pathlib import Path

def die_at(name):
    if os.environ["KILL"] == name:
        os.kill(0, signal.SIGKILL)

with open(os.environ["LOG"], "a") as log:
    print("pip", *sys.argv[1:], file=log)
if "-e" in sys.argv:
    die_at("the project")
    program = Path(sys.prefix, "bin", "kaldi-quant")
    program.write_text("#!/bin/sh")
    program.chmod(0o755)
elif "install" in sys.argv:
    end = time.monotonic() + 20
    while "PAUSE" in os.environ and not os.path.exists(os.environ["PAUSE"]) and time.monotonic() < end:
        time.sleep(0.01)
    if os.environ["KILL"] == "no network":
        sys.exit("no network")
    for name in sys.argv[sys.argv.index("-c") + 2 :]:
        folder = Path(sysconfig.get_path("purelib"), re.sub("[-_.]+", "_", name) + "-1.0.dist-info")
        if (folder / "METADATA").exists():
            continue
        die_at("before " + name)
        folder.mkdir()
        (folder / "METADATA").write_text(f"Name: {name}\\nVersion: 1.0\\n")
        die_at(name)
        (folder.parent / f"{name}.py").write_text("")
        (folder / "INSTALLER").write_text("pip")
"""

SOURCE = 'set -euo pipefail; . "$0/path.sh"; echo "$VIRTUAL_ENV"; command -v python3'


@dataclass
class Project:
    """A checkout with nothing but what path.sh reads, on a machine with a Python that is new enough."""

    folder: Path
    settings: dict[str, str]
    log: Path

    def command(self, extras: str, **variables: str) -> subprocess.Popen[str]:
        """A recipe that sources path.sh, in a process group of its own."""
        return subprocess.Popen(
            ["bash", "-c", SOURCE, str(self.folder)],
            env={**self.settings, "KALDI_QUANT_EXTRAS": extras, **variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def source(self, extras: str = "", **variables: str) -> subprocess.CompletedProcess[str]:
        """Runs such a recipe to its end."""
        process = self.command(extras, **variables)
        output, errors = process.communicate(timeout=300)
        return subprocess.CompletedProcess(process.args, process.returncode, output, errors)

    def calls(self, what: str) -> list[str]:
        """The calls of the modules venv and pip that installed something, and forgets them."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        self.log.unlink(missing_ok=True)
        return [line for line in lines if what in line]

    @property
    def environments(self) -> list[Path]:
        return sorted(path for path in self.folder.glob(".venv-*") if path.is_dir())

    @property
    def packages(self) -> list[str]:
        """The packages of the only environment that are there with all their files."""
        (environment,) = self.environments
        names = [path.stem for path in environment.glob("lib/python3*/site-packages/*.py")]
        infos = [path.parent.name for path in environment.glob("lib/python3*/site-packages/*.dist-info/INSTALLER")]
        assert sorted(re.sub("[-_.]+", "_", name) for name in names) == sorted(name.split("-")[0] for name in infos)
        return sorted(names)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    folder = tmp_path / "my project"
    pip = tmp_path / "pip"
    programs = tmp_path / "bin"
    for made in (folder, pip, programs):
        made.mkdir()
    for name in ("path.sh", "setup.py", "constraints.txt"):
        shutil.copy(ROOT / name, folder)
    (pip / "__init__.py").write_text("")
    (pip / "__main__.py").write_text(PIP)
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    site = f"lib/{version}/site-packages"
    python = programs / "python3"
    python.write_text(PYTHON.format(python=f"{sys.base_prefix}/bin/{version}", pip=pip, site=site))
    python.chmod(0o755)
    log = tmp_path / "log"
    settings = {"PATH": f"{programs}:/usr/bin:/bin", "HOME": str(tmp_path), "LOG": str(log), "KILL": ""}
    return Project(folder, settings, log)


def kept(folder: Path) -> dict[str, tuple[int, int]]:
    """What tells whether a file was touched."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.suffix != ".pyc")
    return {str(path): (path.stat().st_ino, path.stat().st_mtime_ns) for path in files}


def test_the_first_recipe_makes_the_environment_and_the_next_uses_it(project: Project) -> None:
    first = project.source()
    assert first.returncode == 0, first.stderr
    (environment,) = project.environments
    assert first.stdout.split("\n")[:2] == [str(environment), f"{environment}/bin/python3"]
    assert (project.folder / ".venv").readlink() == Path(environment.name)
    assert {"torch", "pyyaml", "kaldi-decoder", "onnx", "matplotlib"} <= set(project.packages)
    assert not {"vosk", "pytest"} & set(project.packages)
    assert len(project.calls("venv")) == 1
    second = project.source()
    assert (second.returncode, second.stdout, second.stderr) == (0, first.stdout, "")
    assert not project.calls("")


@pytest.mark.parametrize("where", ["venv", "torch", "before kaldifst", "the project"])
def test_a_killed_first_install_is_completed(project: Project, where: str) -> None:
    killed = project.source(KILL=where)
    assert killed.returncode == -signal.SIGKILL
    before = {} if where == "venv" else kept(project.environments[0])
    assert len(project.calls("venv")) == 1
    again = project.source()
    assert again.returncode == 0, again.stderr
    assert len(project.calls("venv")) == (where == "venv")
    after = kept(project.environments[0])
    assert all(after[name] == state for name, state in before.items() if not re.search("/(kaldifst|torch)-", name))
    assert {"torch", "kaldifst", "kaldi-native-fbank"} <= set(project.packages)
    assert project.source().stderr == ""


@pytest.mark.parametrize("where", ["before pytest", "hypothesis"])
def test_adding_packages_touches_nothing_that_is_there(project: Project, where: str) -> None:
    assert project.source().returncode == 0
    in_use = kept(project.environments[0])
    project.calls("")
    assert project.source("test", KILL=where).returncode == -signal.SIGKILL
    # Recipes that need no more than what is there are not held up.
    assert project.source().stderr == ""
    again = project.source("test")
    assert again.returncode == 0, again.stderr
    assert {"pytest", "pytest-xdist", "hypothesis", "kaldiio"} <= set(project.packages)
    assert in_use.items() <= kept(project.environments[0]).items()
    assert not project.calls("venv")
    assert project.source("test").stderr == ""


def test_pip_that_fails_is_said_and_tried_again(project: Project) -> None:
    failed = project.source(KILL="no network")
    assert failed.returncode == 1
    assert "pip could not install the packages" in failed.stderr
    assert not failed.stdout
    assert project.source().returncode == 0
    assert len(project.calls("venv")) == 1


def test_two_recipes_at_once_make_one_environment(project: Project, tmp_path: Path) -> None:
    with project.command("", PAUSE=str(tmp_path / "go on")) as first:
        while not project.log.exists() or "pip install" not in project.log.read_text():
            assert first.poll() is None
            time.sleep(0.01)
        with project.command("") as second:
            assert second.stderr
            assert second.stderr.readline().startswith("path.sh: waiting for another recipe")
            (tmp_path / "go on").touch()
            output, errors = second.communicate(timeout=300)
        assert (second.returncode, errors) == (0, "")
        assert first.communicate(timeout=300)[0] == output
    assert len(project.calls(" install ")) == 2  # the packages, the project


def test_other_versions_go_into_an_environment_of_their_own(project: Project) -> None:
    assert project.source().returncode == 0
    (old,) = project.environments
    in_use = kept(old)
    constraints = project.folder / "constraints.txt"
    constraints.write_text(constraints.read_text().replace("torch==", "torch==9."))
    changed = project.source()
    assert changed.returncode == 0, changed.stderr
    assert f"{old} holds the packages of another constraints.txt: remove it" in changed.stderr
    (new,) = set(project.environments) - {old}
    assert changed.stdout.startswith(f"{new}\n")
    assert (project.folder / ".venv").readlink() == Path(new.name)
    assert kept(old) == in_use
    assert project.source().stderr == ""
    # A recipe that began with the old environment goes on with it.
    assert project.source(VIRTUAL_ENV=str(old)).stdout.startswith(f"{old}\n")


def test_a_requirement_that_is_new_in_the_list_is_added(project: Project) -> None:
    assert project.source().returncode == 0
    project.calls("")
    setup = project.folder / "setup.py"
    setup.write_text(setup.read_text().replace('"rich", ', '"rich", "soundfile>=0.13; sys_platform == \'linux\'", '))
    added = project.source()
    assert added.returncode == 0, added.stderr
    assert [call.rpartition("constraints.txt ")[2] for call in project.calls("pip install")] == [
        "soundfile>=0.13; sys_platform == 'linux'"
    ]


def test_a_python_that_was_removed_is_replaced_without_loss(project: Project) -> None:
    assert project.source().returncode == 0
    (environment,) = project.environments
    in_use = kept(environment / "lib")
    for link in environment.glob("bin/python*"):
        link.unlink()
        link.symlink_to("/nowhere/python3")
    project.calls("")
    shutil.rmtree(next(environment.glob("lib/python3*/site-packages/pip")))
    again = project.source()
    assert again.returncode == 0, again.stderr
    assert "does not work any more" in again.stderr
    assert not project.calls("--clear")
    in_use = {name: state for name, state in in_use.items() if "/pip/" not in name}
    assert in_use.items() <= kept(environment).items()


def test_a_folder_of_the_users_named_venv_is_left_alone(project: Project) -> None:
    (project.folder / ".venv").mkdir()
    (project.folder / ".venv" / "file").write_text("")
    result = project.source()
    assert result.returncode == 0, result.stderr
    assert [path.name for path in (project.folder / ".venv").iterdir()] == ["file"]
    assert not (project.folder / ".venv").is_symlink()
    assert project.source().stderr == ""


def test_an_active_environment_that_holds_the_packages_is_used(project: Project) -> None:
    result = project.source("test", VIRTUAL_ENV=sys.prefix)
    assert result.returncode == 0, result.stderr
    assert result.stdout.split("\n")[:2] == [sys.prefix, f"{sys.prefix}/bin/python3"]
    assert not project.environments


def test_an_active_environment_that_lacks_packages_is_named_and_not_used(project: Project, tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "active"], check=True)
    result = project.source(VIRTUAL_ENV=str(tmp_path / "active"))
    assert result.returncode == 0, result.stderr
    (environment,) = project.environments
    first = result.stderr.splitlines()[0]
    assert first.startswith(f"path.sh: the active environment {tmp_path}/active lacks torch, numpy, ")
    assert first.endswith(f"kaldi-native-fbank: using {environment}")
    assert result.stdout.startswith(f"{environment}\n")


def test_an_active_environment_without_a_python(project: Project, tmp_path: Path) -> None:
    result = project.source(CONDA_PREFIX=str(tmp_path / "none"))
    assert result.returncode == 0, result.stderr
    assert f"the active environment {tmp_path}/none has no Python that works: using" in result.stderr


@pytest.mark.parametrize("variables", [{}, {"VIRTUAL_ENV": sys.prefix}])
def test_an_extra_that_does_not_exist(project: Project, variables: dict[str, str]) -> None:
    result = project.source("onnx tests", **variables)
    assert result.returncode == 1
    assert "there is no extra 'tests' in setup.py, only decode, mfcc, onnx, report, recipes, " in result.stderr
    assert not project.calls("pip install")


def test_modules_in_the_current_folder_do_not_count(project: Project, tmp_path: Path) -> None:
    """Recipes go to the user's folder, where any name may lie."""
    for name in ("re.py", "ast.py"):
        (tmp_path / name).write_text("raise SystemExit(7)")
    command = ["bash", "-c", f'cd "{tmp_path}"; {SOURCE}', str(project.folder)]
    settings = {**project.settings, "VIRTUAL_ENV": sys.prefix}
    result = subprocess.run(command, env=settings, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (0, "")


# A python3 that knows its version, whether that is new enough, and whether it can make environments.
FAKE_PYTHON = """#!/bin/bash
case "$*" in
  *print*) echo {version} ;;
  *ensurepip*) exit {no_venv} ;;
  *version_info*) exit {too_old} ;;
  *) exit 1 ;;
esac
"""


@pytest.mark.parametrize(
    ("version", "too_old", "no_venv", "message"),
    [
        ("3.9", 1, 0, "Python 3.11 or later is needed, found 3.9"),
        ("3.12", 0, 1, "apt install python3-venv"),
    ],
)
def test_a_python_that_cannot_make_the_environment(
    project: Project, tmp_path: Path, version: str, too_old: int, no_venv: int, message: str
) -> None:
    programs = tmp_path / "others"
    programs.mkdir()
    for name in ("bash", "dirname", "sha256sum", "flock"):
        found = shutil.which(name)
        assert found, f"{name} is part of every Debian"
        (programs / name).symlink_to(found)
    python = programs / "python3"
    python.write_text(FAKE_PYTHON.format(version=version, too_old=too_old, no_venv=no_venv))
    python.chmod(0o755)
    result = project.source(PATH=str(programs))
    assert result.returncode == 1
    assert message in result.stderr
    assert not result.stdout
    assert not project.environments


def imported(folder: Path) -> Iterator[tuple[Path, str]]:
    """The modules that the Python files of a folder import, by their first name, and the file."""
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                yield from ((path, alias.name.split(".")[0]) for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                yield path, node.module.split(".")[0]


def normal(name: str) -> str:
    return re.sub("[-_.]+", "-", name).lower()


def test_what_the_tests_need_is_what_their_command_brings(project: Project) -> None:
    """Whatever the package and its tests import is installed by the extra that tests/run.sh asks for."""
    extras = re.search(r'^KALDI_QUANT_EXTRAS="(\w+) ', (ROOT / "tests" / "run.sh").read_text(), re.M)
    assert extras
    assert project.source(extras[1]).returncode == 0
    brought = {normal(name) for name in project.packages}
    assert not OPTIONAL & brought
    own = {path.stem for path in (ROOT / "tests").rglob("*.py")} | {"benchmarks", "kaldi_quant", "tests"}
    owners = packages_distributions()
    for folder in ("kaldi_quant", "tests"):
        for path, module in imported(ROOT / folder):
            if module not in sys.stdlib_module_names and module not in own | OPTIONAL:
                needed = {normal(name) for name in owners.get(module, [module])}
                assert needed & brought, f"{path} imports {module}, which the extra {extras[1]} does not bring"


def test_every_requirement_has_a_tested_version() -> None:
    constraints = (ROOT / "constraints.txt").read_text().splitlines()
    pinned = {normal(line.split("==")[0]) for line in constraints if "==" in line}
    lists = {}
    for statement in ast.parse((ROOT / "setup.py").read_text()).body:
        if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) in ("REQUIRES", "EXTRAS"):
            lists[ast.unparse(statement.targets[0])] = ast.literal_eval(statement.value)
    names = {*lists["REQUIRES"], *(name for names in lists["EXTRAS"].values() for name in names)}
    assert {normal(name) for name in names if "[" not in name} <= pinned


def test_no_other_place_says_what_to_install() -> None:
    for name in (".ci/run", "tests/run.sh"):
        text = (ROOT / name).read_text()
        assert "pip install" not in text
        assert "path.sh" in text
