"""What all tests share: one thread per process, small crystals, the command line."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from forking import prammol_in
from processes import mpiexec, run

# For the processes the tests start; make sets it for this one.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

Run = Callable[..., subprocess.CompletedProcess[str]]


# Files that take a minute and more, begun first: no worker is left alone with one in the end.
_LONGEST = (
    "reconstruction/stages/default/test_anneal.py",
    "reconstruction/test_preset_default.py",
    "project/test_own_data.py",
    "workflow/test_workflow.py",
    "core/test_mpi.py",
    "cli/test_resume.py",
    "reconstruction/test_wrong_potential.py",
    "reconstruction/test_open_lattice.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sort the longest files to the front, all others stay as they were."""
    tests = Path(__file__).parent
    place = {tests / name: k for k, name in enumerate(_LONGEST)}
    items.sort(key=lambda item: place.get(item.path, len(place)))


@pytest.fixture
def prammol(tmp_path: Path) -> Run:
    """The command line as a process of its own, in an empty directory."""
    return partial(prammol_in, tmp_path)


@pytest.fixture
def prammol_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Run:
    """The same within this process, which needs no second to load; also prints below Python."""
    from prammol.cli.main import run as run_here

    def call(*arguments: object) -> subprocess.CompletedProcess[str]:
        words = list(map(str, arguments))
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["prammol", *words])
        monkeypatch.setattr(sys, "excepthook", sys.excepthook)
        capfd.readouterr()
        try:
            code = run_here(words)
        except SystemExit as end:  # of the parser
            code = int(end.code or 0)
        return subprocess.CompletedProcess(words, code, *capfd.readouterr())

    return call


@pytest.fixture
def parallel(tmp_path: Path) -> Run:
    """``parallel(n, *arguments)``: python on n ranks, in an empty directory."""

    def call(ranks: int, *arguments: object, **options: object) -> subprocess.CompletedProcess[str]:
        command = [mpiexec(), "-n", str(ranks), sys.executable, *map(str, arguments)]
        return run(command, cwd=tmp_path, **options)  # type: ignore[arg-type]

    return call


@pytest.fixture
def rng() -> np.random.Generator:
    """Random numbers with a fixed seed."""
    return np.random.default_rng(20240604)


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files of a small crystal, made by the command line.

    ``s.xyz`` (150 atoms, not relaxed), ``d.h5`` (three patches of 16^3 points), ``u.h5``, and
    what two iterations of the preset ``paper`` give: ``r.h5``, ``r.xyz``, ``r.lammps``.
    Not to be changed: copy what you want to damage.
    """
    folder = tmp_path_factory.mktemp("small")
    for code, command in (
        (0, "crystal bulk --atoms 150 --seed 5 --no-relax -o s.xyz"),
        (0, "simulate s.xyz --flux 1e20 --points 16 --seed 1 -o d.h5"),
        (0, "support d.h5 --from-truth s.xyz --resolution 5 -o u.h5"),
        (3, "reconstruct d.h5 --support u.h5 --preset paper --set max_iterations=2 -o r.h5"),
    ):
        done = prammol_in(folder, *command.split())
        assert done.returncode == code, done.stderr
    return folder
