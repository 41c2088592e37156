"""Particles with faults, dislocations, loops and grains (benchmarks/fault_crystals.py): exact?

    python benchmarks/faults.py -o docs/results/faults.csv

Each kind of each seed is made, measured at 1e18 photons/um^2 in boxes around its {111} peaks and
reconstructed with the support of the truth at 5 Å, in a process of its own. Particles of several
grains are measured in the patches of the first grain, and in as many as all grains need.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from fault_crystals import KINDS, fault_crystal, peaks_of
from provenance import provenance, read_rows, write_rows
from reconstructed import reconstructed

import prammol
from prammol.diffraction.bragg_patch import BraggPatch

COLUMNS = ("kind", "patches", "seed", "atoms", "n_missing", "n_extra", "mae_pm", "excess")
COLUMNS += ("iterations", "converged", "reason", "unseen", "core_s")
SAMPLING = 3.0  # period of the patches over the extent of the crystal


def boxes(
    peaks: np.ndarray, half: float, truth: prammol.Atoms, edge: float, margin: float
) -> list[BraggPatch]:
    """Return boxes around peaks, (k, 3) [r.l.u.], as fine as the crystal asks for."""
    step = 2 * np.pi / (SAMPLING * (np.ptp(truth.positions, axis=0) + margin))
    shape = np.ceil(2 * half * 2 * np.pi / edge / step).astype(int) + 1
    unit = 2 * np.pi / edge
    return [BraggPatch(unit * p - step * (shape - 1) / 2, np.diag(step), shape) for p in peaks]


def row_of(name: str, every: bool, seed: int, flux: float, keep: Path | None) -> dict[str, Any]:
    """Make a crystal, reconstruct it and return its row."""
    truth, potential = fault_crystal(name, seed)
    edge = potential.lattice_constant
    patches = boxes(peaks_of(name, every), 0.6, truth, edge, potential.neighbour_distance)
    row: dict[str, Any] = {"kind": name, "patches": len(patches), "seed": seed}
    data = prammol.simulate(truth, flux, seed, patches)
    support = prammol.support_from_truth(truth, resolution=5.0)
    try:
        result, _, more = reconstructed(data, support, truth, seed, potential)
    except prammol.PrammolError as error:
        return row | {"atoms": len(truth), "reason": str(error)}
    if keep:
        prammol.write_atoms(keep / f"{name}-{seed}.xyz", result.atoms, force=True)
    unseen = [f"{c.effect} {c.where}" for c in result.diagnosis if c.effect == "unseen grain"]
    return row | more | {"unseen": "; ".join(unseen)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=list(KINDS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--flux", type=float, default=1e18)
    parser.add_argument("--limit", type=int, default=600, help="processor time of one [600 s]")
    parser.add_argument("--keep", type=Path, help="folder for the results")
    parser.add_argument("--only", nargs=3, help="one crystal, in this process")
    parser.add_argument("-o", "--output", type=Path, default=Path("faults.csv"))
    options = parser.parse_args()
    if options.only:
        resource.setrlimit(resource.RLIMIT_CPU, (options.limit, options.limit + 10))
        name, every, seed = options.only
        row = row_of(name, every == "1", int(seed), options.flux, options.keep)
        print(json.dumps(row), flush=True)
        return
    origin = provenance()
    rows = read_rows(options.output) if options.output.exists() else []
    known = {(r["kind"], int(r["patches"]), int(r["seed"])) for r in rows}
    for seed in options.seeds:
        for name in options.kinds:
            for every in sorted({len(peaks_of(name, e)): e for e in (True, False)}.values()):
                number = len(peaks_of(name, every))
                if (name, number, seed) in known:
                    continue
                command = [sys.executable, __file__, "--flux", str(options.flux)]
                command += ["--limit", str(options.limit)]
                command += ["--keep", str(options.keep)] if options.keep else []
                command += ["--only", name, str(int(every)), str(seed)]
                done = subprocess.run(command, capture_output=True, text=True, check=False)
                lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
                error = (done.stderr.strip().splitlines() or [""])[-1]
                missing = {"kind": name, "patches": number, "seed": seed, "reason": error}
                rows.append(json.loads(lines[-1]) if lines else missing)
                print(rows[-1], flush=True)
                write_rows(options.output, rows, origin, COLUMNS)


if __name__ == "__main__":
    main()
