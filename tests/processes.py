"""Programs that tests start: the command line, python on several ranks."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent  # of the project


def mpiexec() -> str:
    """The launcher of the MPI library mpi4py was built for: beside python if it is a wheel."""
    beside = Path(sys.executable).with_name("mpiexec")
    found = str(beside) if beside.exists() else shutil.which("mpiexec")
    if found is None:
        pytest.fail("no mpiexec: the mpich of the environment should have brought one")
    return found


def run(
    command: Sequence[str | Path], timeout: float = 120, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a program, return what it printed; a hang fails the test."""
    return subprocess.run(
        [str(c) for c in command],
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
        cwd=cwd,
    )
