"""Install a wheel where nothing of the checkout is in reach, and try everything there.

    python tests/installed.py dist/*.whl

A fresh environment of the same Python in an empty folder; every verb's help, doctor, a small demo,
and what an installed program must bring along. No test: ``make package`` and a slow test run it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

_HIDDEN = ("PYTHONPATH", "VIRTUAL_ENV", "PYTHONHOME")
_ATOMS = 300  # of the demo


def try_out(wheel: Path, folder: Path) -> None:
    """Install and try a wheel in a folder; whatever isn't right is an AssertionError.

    Parameters
    ----------
    wheel : Path
    folder : Path
        Empty, and far from any checkout.
    """
    home = folder / "venv"
    venv.create(home, with_pip=True)
    variables = {k: v for k, v in os.environ.items() if k not in _HIDDEN}
    variables["PATH"] = os.pathsep.join([str(home / "bin"), *os.get_exec_path()])

    def run(*words: object) -> str:
        done = subprocess.run(
            [str(home / "bin" / str(words[0])), *map(str, words[1:])],
            cwd=folder,
            env=variables,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    run("python", "-m", "pip", "--disable-pip-version-check", "install", "-q", wheel.resolve())
    run("python", "-m", "pip", "--disable-pip-version-check", "check")
    code = "import prammol; print(prammol.__file__, prammol.__version__)"
    place, version = run("python", "-c", code).split()
    assert Path(place).is_relative_to(home)
    assert run("prammol", "--version").split() == ["prammol", version]
    verbs = run("python", "-c", "from prammol.cli.main import VERBS; print(*VERBS)").split()
    for verb in verbs:
        assert f"usage: prammol {verb}" in run("prammol", verb, "--help")
    report = run("prammol", "doctor")
    assert "-3.3600 eV for an atom of bulk Al" in report
    assert all(line.startswith("ok") for line in report.splitlines())
    run("prammol", "demo", "demo", "--atoms", _ATOMS)
    found = json.loads((folder / "demo" / "metrics.json").read_text())
    assert (found["n_atoms"], found["n_missing"], found["n_extra"]) == (_ATOMS, 0, 0)
    run("prammol", "view", "demo/reconstruction.h5")
    run("prammol", "compare", *["demo/reconstruction.h5"] * 2)
    run("prammol", "completion", "bash")
    run("prammol", "init", "run.yaml")
    print(f"prammol {version} on Python {sys.version.split()[0]}: {len(verbs)} verbs work")


if __name__ == "__main__":
    (given,) = sys.argv[1:]
    with tempfile.TemporaryDirectory() as empty:
        try_out(Path(given), Path(empty))
