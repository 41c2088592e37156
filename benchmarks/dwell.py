"""Do extra atoms of a warm crystal stand where atoms dwell that hop?

A temperature of the study, run with the configuration of the workflow:

    snakemake results/temperature/700K/trial-{01,02}/metrics.json
    cd results
    python ../benchmarks/dwell.py samples/bulk-large.xyz temperature/700K -o dwell-700K.csv

The trajectory is run again, by its seed, and checked against the mean positions of the first
run. How often is an atom within half a neighbours' distance of each site? The table,
docs/results/dwell-700K.csv, has for each trial its extra atoms, a part of those that have a
partner, vacant sites beside the object, and the mean positions of missing atoms. No picture.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from provenance import provenance, write_rows
from scipy.spatial import cKDTree

from prammol.evaluation.trajectory_statistics import Motion, hops
from prammol.io import read_atoms
from prammol.potentials.potential import Potential, aluminium
from prammol.simulation.averages import innermost_patches, mean_structure_factor
from prammol.structure.vacant_sites import vacant_sites

Array = np.ndarray
_CLOSE = 0.5  # of the neighbours' distance


def sites_of(errors: Path, mean: Array, potential: Potential) -> dict[str, Array]:
    """Return the sites of a trial to look at, by what they are."""
    atoms = read_atoms(errors)
    x, partner = atoms.positions, atoms.columns["truth_index"].astype(int)
    with_partner = x[partner >= 0]
    number = cKDTree(x).query_ball_point(with_partner, potential.bond_reach, return_length=True)
    surface = with_partner[number - 1 < 10]
    return {
        "extra atoms": x[partner < 0],
        "matched atoms (each 20th)": with_partner[::20],
        "matched surface atoms (each 5th)": surface[::5],
        "vacant sites beside the object": vacant_sites(
            x, potential.bond_reach, potential.neighbour_distance
        ),
        "mean positions of missing atoms": np.delete(mean, partner[partner >= 0], axis=0),
    }


class Dwell:
    """Counts how often an atom, and how often one that hops, is at each of some sites."""

    def __init__(self, sites: Array, close: float, hopping: Array) -> None:
        self.sites, self._close, self._hopping = sites, close, hopping
        self.occupied, self.by_hopping = np.zeros(len(sites)), np.zeros(len(sites))
        self.snapshots = 0

    def add(self, x: Array) -> None:
        """Count one snapshot, (n, 3) [Å]."""
        distance, nearest = cKDTree(x).query(self.sites)
        here = distance < self._close
        self.occupied += here
        self.by_hopping += here & self._hopping[nearest]
        self.snapshots += 1


def row_of(what: str, trial: int, occupied: Array, by_hopping: Array) -> dict[str, Any]:
    """Return a row of the table from parts of the time."""
    low, median, high = np.quantile(occupied, [0.25, 0.5, 0.75])
    return {
        "sites": what,
        "trial": trial,
        "number": len(occupied),
        "occupied_median": round(median, 3),
        "occupied_lower_quartile": round(low, 3),
        "occupied_upper_quartile": round(high, 3),
        "part_occupied_above_half": round(float(np.mean(occupied > 0.5)), 3),
        "part_by_hopping_atoms": round(by_hopping.sum() / max(occupied.sum(), 1e-9), 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sample", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("-o", "--output", type=Path, default=Path("dwell.csv"))
    options = parser.parse_args()
    potential = aluminium()
    distance = potential.neighbour_distance
    with np.load(options.folder / "amplitude.npz") as file:
        meta, first = json.loads(str(file["meta"])), file["mean_positions"]
    mean = read_atoms(options.folder / "mean.xyz")
    hopping = hops(mean.columns["mean_square_displacement"], distance)
    trials = sorted(options.folder.glob("trial-*/errors.xyz"))
    groups = [
        (what, int(path.parent.name.removeprefix("trial-")), sites)
        for path in trials
        for what, sites in sites_of(path, mean.positions, potential).items()
        if len(sites)
    ]
    dwell = Dwell(np.concatenate([g[2] for g in groups]), _CLOSE * distance, hopping)
    sample = read_atoms(options.sample)
    motion = Motion(sample.positions, distance)

    def visit(x: Array) -> None:
        motion.add(x)
        dwell.add(x)

    mean_structure_factor(
        sample,
        meta["temperature"],
        meta["dynamics_seed"],
        innermost_patches(sample, 2),
        potential,
        equilibrate=meta["equilibrate"],
        steps=meta["snapshots"] * meta["every"],
        every=meta["every"],
        timestep=meta["timestep"],
        visit=visit,
    )
    gap = np.abs(motion.mean_positions - first).max()
    print(f"mean positions differ from those of the first run by {gap:.2g} Å at most")
    ends = np.cumsum([len(g[2]) for g in groups])[:-1]
    parts = (np.split(v / dwell.snapshots, ends) for v in (dwell.occupied, dwell.by_hopping))
    rows = [row_of(g[0], g[1], *p) for g, *p in zip(groups, *parts, strict=True)]
    write_rows(options.output, rows, provenance())
    for row in rows:
        print(*row.values())


if __name__ == "__main__":
    main()
