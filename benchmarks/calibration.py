"""Do the error bars hold? Trials against the crystals they were simulated from.

    snakemake results/flux/trials.csv
    cd results
    python ../benchmarks/calibration.py samples/vacancy.xyz flux/*/trial-* -o calibration

This makes docs/results/calibration.csv, one row per trial, and calibration.png: (a) the part of
all coordinates within k standard deviations against that of a Gaussian; (b) of sites called
occupied with some probability, the part that is. The bars of these trials are computed afresh
from counts and atoms. Others, such as those of atoms that the data moved, are read from the file:

    --stored "300 K" temperature/300K/mean.xyz temperature/300K/trial-*
"""

from __future__ import annotations

import argparse
from itertools import pairwise
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from provenance import provenance, write_rows
from scipy.spatial import cKDTree
from scipy.special import logit
from scipy.stats import norm

from prammol.core.parallel import Communicator
from prammol.diffraction.support import Support
from prammol.evaluation.metrics import Metrics, evaluate
from prammol.io import read_atoms, read_diffraction, read_reconstruction
from prammol.plotting.style import FOUND, GREY, PAGE, STYLE, letter_panels, new_figure
from prammol.potentials.potential import aluminium
from prammol.reconstruction.loop import make_problem
from prammol.reconstruction.model import Model
from prammol.reconstruction.uncertainty.per_atom import (
    misfit_of,
    site_probabilities,
    spread_of_sets,
)
from prammol.reconstruction.uncertainty.positions import position_uncertainty

ANYWHERE = Support(np.zeros(3), np.eye(3), np.ones((1, 1, 1), dtype=bool))
EDGES = np.array([0.0, 0.01, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99, 0.9999, 1.0])


def examine(folder: Path, truth: np.ndarray) -> tuple[dict[str, Any], Any, Any]:
    """Return a row, errors over standard deviations, and (probability, occupied) of sites."""
    data = read_diffraction(folder / "diffraction.h5")
    result = read_reconstruction(folder / "reconstruction.h5")
    problem = make_problem(data, ANYWHERE, aluminium(), result.seed, Communicator())
    try:
        bond = result.history[-1].get("bond", Model.bond_energy)
        model = Model(result.atoms.positions, result.scale, bond_energy=bond)
        misfit = misfit_of(problem, model)
        sigma = position_uncertainty(problem, model, 0, misfit).posterior
        doubt = site_probabilities(problem, model, 0, misfit)
        sigma = np.hypot(sigma, spread_of_sets(problem, model, 0, doubt))
        atoms, vacant = np.split(doubt.occupied, [len(model.positions)])
    finally:
        problem.cluster.close()
    found = evaluate(model.positions, truth, with_resolution=False)
    ratio = ratio_of(found, truth, sigma)
    right = np.isin(np.arange(len(atoms)), found.found_index)
    reach = found.registration.apply(doubt.sites.positions[len(atoms) :])
    missing = truth[found.missing]
    distance = cKDTree(missing).query(reach)[0] if len(missing) else np.full(len(reach), np.inf)
    row = row_of(folder, found, ratio) | {
        "expected_missing": vacant.sum(),
        "expected_extra": (1 - atoms).sum(),
    }
    sites = np.concatenate([atoms, vacant]), np.concatenate([right, distance < 1.43])
    return row, ratio.ravel(), sites


def stored(folder: Path, truth: np.ndarray) -> tuple[dict[str, Any], Any]:
    """Return a row, and errors over the standard deviations in the file."""
    atoms = read_reconstruction(folder / "reconstruction.h5").atoms
    found = evaluate(atoms.positions, truth, with_resolution=False)
    ratio = ratio_of(found, truth, atoms.columns["position_sigma"])
    return row_of(folder, found, ratio), ratio.ravel()


def ratio_of(found: Metrics, truth: np.ndarray, sigma: np.ndarray) -> np.ndarray:
    """Return errors of the found atoms over their standard deviations, (k, 3)."""
    error = found.positions[found.found_index] - truth[found.truth_index]
    return (error - error.mean(axis=0)) / sigma[found.found_index]


def within(ratio: np.ndarray) -> tuple[float, float]:
    """Return the parts inside the intervals of 68 and 95 %."""
    far = np.abs(ratio)
    return float(np.mean(far < norm.ppf(0.84))), float(np.mean(far < norm.ppf(0.975)))


def row_of(folder: Path, found: Metrics, ratio: np.ndarray) -> dict[str, Any]:
    """Return what both kinds of trials have in their rows."""
    inside = within(ratio)
    return {
        "condition": folder.parent.name,
        "trial": folder.name,
        "n_missing": found.n_missing,
        "n_extra": found.n_extra,
        "within_68": inside[0],
        "within_95": inside[1],
        "rms_ratio": np.sqrt(np.mean(ratio**2)),
    }


def draw(
    groups: dict[str, np.ndarray], probability: np.ndarray, occupied: np.ndarray, path: str
) -> None:
    """Draw both panels."""
    with mpl.rc_context(STYLE):
        figure = new_figure(PAGE, 3.2)
        left, right = figure.subplots(1, 2)
        k = np.linspace(0, 3, 61)
        left.plot(k, 2 * norm.cdf(k) - 1, color=GREY, ls="--", label="Gaussian")
        for label, ratios in groups.items():
            left.plot(k, [np.mean(np.abs(ratios) < v) for v in k], label=label)
        left.set(xlabel="error (standard deviations)", ylabel="part of all coordinates within")
        left.set_ylim(0, 1.02)
        left.legend()
        p = 1 / (1 + np.exp(-np.linspace(-np.log(1e5), np.log(1e5), 201)))
        right.plot(logit(p), p, color=GREY, ls="--", label="as often as said")
        for low, high in pairwise(EDGES):
            here = (probability >= low) & ((probability < high) | (high == 1.0))
            n = int(here.sum())
            if n:
                said, part = probability[here].mean(), occupied[here].mean()
                bar = np.sqrt((part * n + 1) * (n - part * n + 1) / (n + 2) ** 2 / (n + 3))
                x = logit(np.clip(said, 1e-5, 1 - 1e-5))
                right.errorbar(x, part, bar, fmt="o", color=FOUND, ms=4)
                right.annotate(f"{n}", (x, part), (4, -9), textcoords="offset points", fontsize=6)
        ticks = np.array([1e-4, 0.01, 0.1, 0.5, 0.9, 0.99, 0.9999])
        right.set_xticks(logit(ticks), [f"{t:g}" for t in ticks])
        right.set(xlabel="probability that the site is occupied", ylabel="part of sites that are")
        right.legend(loc="upper left")
        letter_panels([left, right])
        figure.savefig(path, dpi=200)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("truth", type=Path)
    parser.add_argument("trials", type=Path, nargs="+")
    parser.add_argument("-o", "--output", default="calibration")
    parser.add_argument(
        "--stored",
        nargs="+",
        action="append",
        default=[],
        metavar="LABEL TRUTH FOLDER",
        help="trials whose bars are read from their files",
    )
    options = parser.parse_args()
    truth = read_atoms(options.truth).positions
    rows, probabilities, occupied = [], [], []
    groups: dict[str, list[np.ndarray]] = {"all atoms right": [], "some wrong": []}
    for folder in options.trials:
        if not (folder / "reconstruction.h5").exists():
            continue
        row, ratio, (p, taken) = examine(folder, truth)
        right = row["n_missing"] == row["n_extra"] == 0
        groups["all atoms right" if right else "some wrong"].append(ratio)
        rows.append({"group": "flux", **row})
        probabilities.append(p)
        occupied.append(taken)
    for label, truth_file, *folders in options.stored:
        other = read_atoms(truth_file).positions
        for folder in map(Path, folders):
            row, ratio = stored(folder, other)
            groups.setdefault(label, []).append(ratio)
            rows.append({"group": label, **row})
    for row in rows:
        print({k: v if isinstance(v, str) else round(float(v), 3) for k, v in row.items()})
    for label, ratios in groups.items():
        if ratios:
            inside = within(np.concatenate(ratios))
            print(f"{label}: {len(ratios)} trials, within 68 and 95 %: {np.round(inside, 3)}")
    fields = list(dict.fromkeys(name for row in rows for name in row))
    write_rows(f"{options.output}.csv", rows, provenance(), fields)
    draw(
        {label: np.concatenate(ratios) for label, ratios in groups.items() if ratios},
        np.concatenate(probabilities),
        np.concatenate(occupied),
        f"{options.output}.png",
    )


if __name__ == "__main__":
    main()
