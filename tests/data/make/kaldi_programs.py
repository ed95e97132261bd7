"""Kaldi's programs, run in a folder."""

import os
import subprocess
import tempfile
from pathlib import Path


class Kaldi:
    """Runs Kaldi's programs.

    Args:
        root: a compiled Kaldi, of which src/nnet3bin and egs/wsj/s5/steps are used.
    """

    def __init__(self, root: str) -> None:
        self.root = Path(root).resolve()
        path = f"{self.root / 'src' / 'nnet3bin'}:{os.environ['PATH']}"
        steps = str(self.root / "egs" / "wsj" / "s5" / "steps")
        # One thread: sums in the same order every time.
        self.env = {**os.environ, "PATH": path, "PYTHONPATH": steps, "OPENBLAS_NUM_THREADS": "1", "LC_ALL": "C"}

    def __call__(self, command: str, folder: Path, log: list[str] | None = None) -> tuple[str, str]:
        """Runs a shell command in a folder, remembers it in ``log``, and returns its output and its messages."""
        bash = ["bash", "-o", "pipefail", "-c", command]
        done = subprocess.run(bash, cwd=folder, env=self.env, text=True, capture_output=True, check=False)
        if log is not None:
            log.append(command)
        if done.returncode != 0:
            raise RuntimeError(f"{folder}: {command}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
        return done.stdout, done.stderr

    def xconfig(self, text: str, folder: Path) -> str:
        """Turns the text of an xconfig file into that of a config file."""
        (folder / "xconfig").write_text(text)
        script = self.root / "egs/wsj/s5/steps/nnet3/xconfig_to_configs.py"
        with tempfile.TemporaryDirectory() as scratch:
            self(f"python3 {script} --xconfig-file=xconfig --config-dir={scratch}", folder)
            lines = Path(scratch, "final.config").read_text().splitlines()
        (folder / "xconfig").unlink()
        return "\n".join(line for line in lines if line and not line.startswith("#")) + "\n"

    def component_types(self) -> set[str]:
        """The component types that this Kaldi registers."""
        source = (self.root / "src/nnet3/nnet-component-itf.cc").read_text()
        body = source.split("Component* Component::NewComponentOfType")[1].split("\n}")[0]
        return {word.split("(")[0] for word in body.split("new ")[1:]}
