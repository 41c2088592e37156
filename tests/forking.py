"""Command lines in forks of an interpreter that has loaded their modules, which takes a second."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import pytest
from processes import ROOT

# Each line it reads is a job; it answers with the exit code.
_LOADED = """
import importlib, json, os, sys
program, module, function, *others = sys.argv[1:]
main = getattr(importlib.import_module(module), function)
for name in others:
    importlib.import_module(name)
for line in sys.stdin:
    words, folder, environment, *printed = json.loads(line)
    child = os.fork()
    if child == 0:
        for target, name in enumerate(printed, start=1):
            os.dup2(os.open(name, os.O_WRONLY), target)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(environment)
        sys.argv = [program, *words]
        sys.exit(main(words))
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""

# MPI and LAMMPS are loaded by the forks.
_PRAMMOL = (
    "prammol", "prammol.cli.main", "run", "numpy", "scipy.optimize", "scipy.spatial", "scipy.stats",
    "scipy.ndimage", "ducc0", "h5py", "pydantic", "prammol.cli.settings", "prammol.io",
    "prammol.reconstruction.presets",
)  # fmt: skip
_SNAKEMAKE = (
    "snakemake", "snakemake.cli", "main", "snakemake.report.html_reporter", "smart_open",
    "jsonschema", "snakemake_executor_plugin_slurm",
)  # fmt: skip


@cache
def _loaded(*modules: str) -> subprocess.Popen[str]:
    """Start an interpreter; it ends with this process, which closes its input."""
    command = [sys.executable, "-c", _LOADED, *modules]
    pipe, environment = subprocess.PIPE, os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        command, stdin=pipe, stdout=pipe, text=True, env=environment, start_new_session=True
    )


def _run(
    modules: tuple[str, ...],
    words: list[str],
    folder: Path,
    environment: Mapping[str, str],
    timeout: float = 120,
) -> subprocess.CompletedProcess[str]:
    """Run a command line, return what it printed; a hang fails the test."""
    loaded = _loaded(*modules)
    assert loaded.stdin is not None
    assert loaded.stdout is not None
    with tempfile.NamedTemporaryFile("r") as out, tempfile.NamedTemporaryFile("r") as err:
        job = (words, str(folder), os.environ | environment, out.name, err.name)
        print(json.dumps(job), file=loaded.stdin, flush=True)
        if not select.select([loaded.stdout], [], [], timeout)[0]:
            os.killpg(loaded.pid, signal.SIGKILL)
            _loaded.cache_clear()
            pytest.fail(f"{words} takes longer than {timeout} s")
        code = int(loaded.stdout.readline())
        return subprocess.CompletedProcess(words, code, out.read(), err.read())


def planned(folder: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    """What ``snakemake --dry-run`` says of the workflow with its results in a folder."""
    words = ["-s", ROOT / "Snakefile", "-d", folder, "--dry-run", "--nocolor", *arguments]
    return _run(_SNAKEMAKE, list(map(str, words)), ROOT, {})


def prammol_in(
    folder: Path, *arguments: object, timeout: float = 120, **environment: str
) -> subprocess.CompletedProcess[str]:
    """The command line in a folder, with some variables of the environment changed."""
    return _run(_PRAMMOL, list(map(str, arguments)), folder, environment, timeout)
