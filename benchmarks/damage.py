"""Which wrong atoms does the verdict see? Exact crystals, damaged, against the counts of the right.

    python benchmarks/damage.py -o docs/results/damage.csv

Two bulk crystals of 500 and 800 atoms, about 200 damages: atoms removed or added, moved to a
vacant site beside them, put 0.3 Å off, rows shifted by one site. Each damaged crystal is relaxed
(but where an atom is off: it would come back), laid on the counts, and judged at every flux: by the
misfit of all points together, and by the changes of single atoms. A likelihood ratio against the
right crystal below what noise gives can't be seen by anything. Crystals that relaxation mends are
left out.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Iterator

import numpy as np
from provenance import provenance, write_rows
from scipy.spatial import cKDTree

from prammol.core.parallel import Communicator
from prammol.diffraction.bragg_patch import paper_patches
from prammol.diffraction.support import Support
from prammol.evaluation.metrics import evaluate
from prammol.likelihood.quasi_likelihood import PoissonMisfit
from prammol.potentials.lammps import Cluster
from prammol.potentials.potential import aluminium
from prammol.reconstruction.loop import make_problem
from prammol.reconstruction.model import Model
from prammol.reconstruction.occupancy.single_changes import single_changes
from prammol.reconstruction.refinement.rotation_strain import align_strained
from prammol.reconstruction.refinement.score_test import gain_of_moves
from prammol.reconstruction.verdict import judge
from prammol.simulation.averages import superpose
from prammol.simulation.counts import simulate
from prammol.simulation.samples import make_crystal
from prammol.structure.vacant_sites import vacant_sites

ANYWHERE = Support(np.zeros(3), np.eye(3), np.ones((1, 1, 1), dtype=bool))
CRYSTALS = ((500, 3, 30), (800, 5, 34))  # atoms, seed, points along an edge
FLUXES = (1e15, 1e16, 1e17, 1e18, 1e19, 1e20)
SIGNIFICANCE = 5.0
MENDED = 1.0  # pm
Damage = tuple[str, np.ndarray, bool]  # name, atoms, whether they are relaxed


def damages(
    x: np.ndarray, reach: float, distance: float, rng: np.random.Generator
) -> Iterator[Damage]:
    """Yield damaged sets of atoms."""
    number = cKDTree(x).query_ball_point(x, reach, return_length=True) - 1
    surface, inside = np.flatnonzero(number < 10), np.flatnonzero(number == 12)
    vacant = vacant_sites(x, reach, distance)

    for count in (1, 2, 3):
        for name, pool in (("surface", surface), ("inside", inside)):
            for _ in range(10):
                y = np.delete(x, rng.choice(pool, count, replace=False), axis=0)
                yield f"{count} removed, {name}", y, True
        for _ in range(7):
            y = np.concatenate([x, vacant[rng.choice(len(vacant), count, replace=False)]])
            yield f"{count} added", y, True
    near = cKDTree(vacant).query_ball_point(x[surface], 1.2 * distance)
    movable = [k for k in range(len(surface)) if near[k]]
    for k in rng.choice(movable, 9, replace=False):
        y = x.copy()
        y[surface[k]] = vacant[rng.choice(near[k])]
        yield "1 moved to a site beside it", y, True
    for name, pool in (("surface", surface), ("inside", inside)):
        for j in rng.choice(pool, 6, replace=False):
            y = x.copy()
            v = rng.normal(size=3)
            y[j] += 0.3 * v / np.linalg.norm(v)
            yield f"1 put 0.3 Å off, {name}", y, False
    for j in rng.choice(surface, 60):
        row = _row(x, j, reach, rng)
        if len(row) < 3:
            continue
        y = x.copy()
        new = 2 * x[row[-1]] - x[row[-2]]
        if cKDTree(np.delete(x, row[0], axis=0)).query(new)[0] > 0.8 * distance:
            y[row[0]] = new
            yield "row shifted by a site", y, True


def _row(x: np.ndarray, j: int, reach: float, rng: np.random.Generator) -> list[int]:
    """Return the close-packed row of an atom, from end to end."""
    tree = cKDTree(x)
    bonds = [k for k in tree.query_ball_point(x[j], reach) if k != j]
    step = x[rng.choice(bonds)] - x[j]
    row = [int(j)]
    for sign in (1, -1):
        at = x[j]
        while True:
            gap, k = tree.query(at + sign * step)
            if gap > 0.3 * np.linalg.norm(step):
                break
            at = x[k]
            row = [*row, int(k)] if sign > 0 else [int(k), *row]
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", default="damage.csv")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    found: dict[tuple[str, float], list[dict[str, float]]] = defaultdict(list)
    for atoms, seed, points in CRYSTALS:
        truth = make_crystal("bulk", atoms=atoms, seed=seed)
        cluster = Cluster(aluminium())
        potential = cluster.potential
        rng = np.random.default_rng([options.seed, seed])
        kinds = [("none", truth.positions, False)]
        kinds += damages(truth.positions, potential.bond_reach, potential.neighbour_distance, rng)
        relaxed = []
        for name, atoms_of, loose in kinds:
            y = cluster.relax(atoms_of, force_tolerance=1e-5)[0] if loose else atoms_of
            if len(y) == len(truth):  # relaxing may turn the whole
                y = superpose(y, truth.positions)
            left = evaluate(y, truth, with_resolution=False)
            same = left.n_missing == left.n_extra == 0 and left.max_error_pm < MENDED
            if name == "none" or not same:
                relaxed.append((name, y))
        cluster.close()
        for flux in FLUXES:
            data = simulate(truth, flux, seed=options.seed, patches=paper_patches(points))
            problem = make_problem(data, ANYWHERE, aluminium(), options.seed, Communicator())
            misfit = PoissonMisfit(problem.shard, problem.factor)
            right = align_strained(misfit, truth.positions, truth.positions)[1]
            for name, y in relaxed:
                x, value = align_strained(misfit, y, y)
                row = examined(problem, x)
                row["gain"] = value - right
                found[name, flux].append(row)
            problem.cluster.close()
            print(atoms, f"{flux:g}", len(relaxed), "damages", flush=True)
    rows = [summary(name, flux, trials) for (name, flux), trials in sorted(found.items())]
    write_rows(options.output, rows, provenance())


def examined(problem, x: np.ndarray) -> dict[str, float]:  # type: ignore[no-untyped-def]
    """Return what misfit and single changes say of atoms at x."""
    model = Model(x, 1.0)
    omega = model.structure_factor(problem.factor)
    model, verdict = judge(problem, model, omega, SIGNIFICANCE)
    changes = single_changes(problem, model)
    best = changes.best
    gain = gain_of_moves(problem, x) if best is None else best.gain
    return {
        "excess": verdict.excess,
        "by_misfit": not verdict.explained,
        "by_change": gain > 0,
        "before": verdict.converged,
        "now": verdict.with_better(gain).converged,
        "least": changes.least,
    }


def summary(name: str, flux: float, trials: list[dict[str, float]]) -> dict[str, object]:
    """Return the row of one kind of damage at one flux."""
    seen = [t["by_misfit"] or t["by_change"] for t in trials]
    visible = [t["gain"] > t["least"] for t in trials]
    return {
        "damage": name,
        "flux": f"{flux:g}",
        "crystals": len(trials),
        "gain": f"{np.median([t['gain'] for t in trials]):.4g}",
        "cannot_be_seen": sum(not v for v in visible),
        "by_misfit": sum(t["by_misfit"] for t in trials),
        "by_change": sum(t["by_change"] for t in trials),
        "missed": sum(v and not s for v, s in zip(visible, seen, strict=True)),
        "converged_by_misfit": sum(t["before"] for t in trials),
        "converged": sum(t["now"] for t in trials),
        "excess": f"{np.median([t['excess'] for t in trials]):.3g}",
    }


if __name__ == "__main__":
    main()
