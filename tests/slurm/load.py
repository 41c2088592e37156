"""A sweep of 300 trials on the test SLURM, a random tenth of whose jobs is killed.

    python tests/slurm/load.py FOLDER

Brings up a SLURM of two nodes with four slots each, queues all trials at once with the profile
slurm-one-rank, and kills reconstructions while they run: scancel, SIGKILL, the time limit, and
once a whole node. Nobody helps. In the end every trial has to have a result, and the killed ones
the atoms of an unbroken run. FOLDER gets the results, load.csv (every start of a trial),
load.json (the sums) and load.png; docs/results/load.csv and load.png are such ones. Needs root
and, on two cores, most of an hour.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections import Counter
from contextlib import redirect_stdout, suppress
from pathlib import Path
from typing import Any

import numpy as np
import yaml

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
sys.path.insert(0, str(Path(__file__).parent))

from accounts import FIELDS, starts, sums
from cluster import OF_TESTS, ClusterError, UnsuitableError, alone, down, up
from killer import Killer
from load_figure import draw
from provenance import provenance, write_rows

ROOT = Path(__file__).parents[2]
NODES, CPUS = 2, 4
TRIALS = 10  # of each condition
SETTINGS = {"max_iterations": 10, "patience": 100}
CRYSTAL = {"kind": "bulk", "atoms": 60, "seed": 5}
POINTS = 10
# Every trial is a job of SLURM; what takes a second is done beside snakemake.
SNAKEFILE = """\
include: {snakefile!r}
localrules: evaluate, resolution, table
"""


def study(conditions: int) -> dict[str, Any]:
    """Return a configuration of many trials of seconds; what they find is of no interest."""
    return {
        "name": "load",
        "samples": {"small": CRYSTAL},
        "measurement": {"points": POINTS},
        "studies": {
            "load": {
                "kind": "flux",
                "sample": "small",
                "flux": [f"{10 + n}e18" for n in range(conditions)],
                "trials": TRIALS,
                "preset": "paper",
                "settings": [f"{key}={value}" for key, value in SETTINGS.items()],
            }
        },
    }


def profile(folder: Path, jobs: int) -> Path:
    """Write slurm-one-rank as somebody would edit it: all jobs at once, status asked more often."""
    settings = yaml.safe_load((ROOT / "profiles/slurm-one-rank/config.v9+.yaml").read_text())
    settings["jobs"] = jobs
    settings["slurm-init-seconds-before-status-checks"] = 10
    settings["default-resources"].update(mem_mb=500, slurm_partition="both")
    settings["set-resources"]["reconstruct"]["mem_mb"] = 500
    path = folder / "profile"
    path.mkdir(exist_ok=True)
    (path / "config.v9+.yaml").write_text(yaml.safe_dump(settings))
    return path


def prepare(folder: Path, conditions: int) -> list[str]:
    """Write the configuration and the inputs of all reconstructions; return the trials."""
    from prammol.cli.main import run

    (folder / "study.yaml").write_text(yaml.safe_dump(study(conditions)))
    (folder / "Snakefile").write_text(SNAKEFILE.format(snakefile=str(ROOT / "Snakefile")))
    (folder / "workflow").symlink_to(ROOT / "workflow")
    crystal = folder / "results/samples/small.xyz"
    crystal.parent.mkdir(parents=True)
    options = [f"--atoms={CRYSTAL['atoms']}", f"--seed={CRYSTAL['seed']}"]
    codes = [run(["crystal", str(CRYSTAL["kind"]), *options, "-o", str(crystal)])]
    trials = []
    for n in range(conditions):
        flux = f"{1 + n / 10:g}e19"
        for number in range(1, TRIALS + 1):
            trials.append(f"results/load/{flux}/trial-{number:02d}")
            path = folder / trials[-1]
            path.mkdir(parents=True)
            data, support = str(path / "diffraction.h5"), str(path / "support.h5")
            options = [f"--flux={flux}", f"--points={POINTS}", f"--seed={len(trials)}"]
            codes.append(run(["simulate", str(crystal), *options, "-o", data]))
            codes.append(run(["support", data, "--from-truth", str(crystal), "-o", support]))
    if any(codes):
        msg = "the inputs of the trials can't be made"
        raise ClusterError(msg)
    return trials


def sweep(folder: Path, trials: list[str], killer: Killer) -> tuple[int, float]:
    """Run all trials while the killer is about; return exit code and seconds."""
    command = [sys.executable, "-m", "snakemake", "--nocolor", "-s", "Snakefile", "-d", folder]
    command += ["--configfile", folder / "study.yaml", "--profile", profile(folder, len(trials))]
    command += ["--", "results/load/trials.csv"]
    begin = time.time()
    with (folder / "snakemake.log").open("w") as log:
        run = subprocess.Popen([str(c) for c in command], cwd=folder, stdout=log, stderr=log)
        try:
            while run.poll() is None:
                # A busy SLURM may be late with an answer.
                with suppress(ClusterError, subprocess.TimeoutExpired):
                    killer.look()
                time.sleep(0.5)
        finally:
            if run.poll() is None:
                run.terminate()
                run.kill()
    return run.returncode, time.time() - begin


def same_atoms(folder: Path, trial: str) -> bool:
    """Tell whether a trial has the atoms of an unbroken run, bit for bit."""
    from prammol import reconstruct
    from prammol.io import read_diffraction, read_reconstruction, read_support

    found = read_reconstruction(folder / trial / "reconstruction.h5")
    data = read_diffraction(folder / trial / "diffraction.h5")
    support = read_support(folder / trial / "support.h5")
    whole = reconstruct(data, support, preset="paper", seed=found.seed, settings=SETTINGS)
    return np.array_equal(whole.atoms.positions, found.atoms.positions)


def load(folder: Path, conditions: int, seed: int, part: float) -> bool:
    """Do all of it; return whether every trial is there and as it should be."""
    origin = provenance()
    with (folder / "prepare.log").open("w") as log, redirect_stdout(log):
        trials = prepare(folder, conditions)
    killer = Killer(OF_TESTS, folder, seed, part, f"n{NODES}", len(trials) // 2)
    with alone(OF_TESTS):
        down(OF_TESTS)  # what a killed test left
        try:
            up(OF_TESTS, nodes=NODES, cpus=CPUS, accounting=True, install=True)
            code, seconds = sweep(folder, trials, killer)
            (folder / "kills.json").write_text(json.dumps(killer.kills, indent=1) + "\n")
            rows = starts(killer.kills)
        finally:
            down(OF_TESTS)
    write_rows(folder / "load.csv", rows, origin, FIELDS)
    found = sums(folder, trials, SETTINGS["max_iterations"], killer.kills, rows)
    killed = sorted({str(k["trial"]) for k in killer.kills})
    same = Counter(same_atoms(folder, trial) for trial in killed)
    found |= {"snakemake_exit_code": code, "seconds": round(seconds), "seed": seed}
    found |= {"killed_trials": len(killed), "with_the_atoms_of_an_unbroken_run": same[True]}
    (folder / "load.json").write_text(json.dumps(found, indent=1) + "\n")
    draw(folder / "load.csv", folder / "load.png")
    print(json.dumps(found, indent=1))
    return code == 0 and found["trials_with_metrics"] == len(trials) and not same[False]


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="a new folder for everything")
    parser.add_argument(
        "--conditions", type=int, default=30, help=f"of {TRIALS} trials each [%(default)s]"
    )
    parser.add_argument("--seed", type=int, default=1, help="of the kills [%(default)s]")
    parser.add_argument(
        "--part", type=float, default=0.1, help="part of the starts to kill [%(default)s]"
    )
    options = parser.parse_args()
    folder = options.folder.resolve()
    if folder.exists() and any(folder.iterdir()):
        print(f"load.py: {folder}: isn't empty, give a new folder", file=sys.stderr)
        return 2
    folder.mkdir(parents=True, exist_ok=True)
    try:
        good = load(folder, options.conditions, options.seed, options.part)
    except UnsuitableError as error:
        print(f"load.py: {error}", file=sys.stderr)
        return 2
    except ClusterError as error:
        print(f"load.py: {error}", file=sys.stderr)
        return 1
    return 0 if good else 1


if __name__ == "__main__":
    raise SystemExit(main())
