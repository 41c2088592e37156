"""Patches that aren't where their file says: are atoms right, and do the error bars hold?

    python benchmarks/geometry.py cases coverage -o docs/results/geometry.csv

This makes docs/results/geometry.csv; no picture. *cases*: one reconstruction for each mis-setting
of offsets, rotations and scales. *coverage*: a small crystal many times, whose patches are moved by
random offsets and rotations, drawn from the uncertainties that the program is told; the parts of
all coordinates inside of their intervals should be 68 and 95 %. With ``--last-step`` not from the
counts, but the true atoms laid on them, with the calibration fitted: how a reconstruction of the
right atoms ends. Atoms are compared in the frame of the laboratory: only a translation is taken
away.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from calibration import ratio_of, within
from provenance import provenance, read_rows, write_rows
from scipy.spatial.transform import Rotation

import prammol
from prammol.core.parallel import Communicator
from prammol.diffraction.bragg_patch import PAPER_PEAKS, BraggPatch, paper_patches
from prammol.diffraction.calibration import Calibration, GeometryUncertainty
from prammol.diffraction.photon_flux import scale_from_flux
from prammol.diffraction.structure_factor import StructureFactor
from prammol.likelihood.quasi_likelihood import PoissonMisfit
from prammol.potentials.potential import aluminium
from prammol.reconstruction.loop import make_problem
from prammol.reconstruction.model import Model
from prammol.reconstruction.refinement.calibration_fit import align_calibrated
from prammol.reconstruction.uncertainty.positions import position_uncertainty
from prammol.structure.atoms import Atoms

UNIT = 2 * np.pi / 4.05  # 1/Å, a reciprocal lattice unit of aluminium
MANY = 4679  # atoms of the paper's vacancy crystal
SCALES = (1.0, 0.7, 1.6)  # of C^2
COLUMNS = ("part", "condition", "trial", "flux", "atoms", "n_missing", "n_extra", "mae_pm")
COLUMNS += ("max_error_pm", "error_bar_pm", "within_68", "within_95", "rms_ratio")
COLUMNS += ("offset_error", "rotation_error", "excess", "converged", "reason")
COLUMNS += ("core_s",)


@dataclass(frozen=True)
class Case:
    """A mis-setting: offsets [r.l.u.] and rotations [degrees] of random direction, scales.

    Or a crystal whose lattice constant isn't the potential's, under patches that are right.
    """

    name: str
    flux: float
    offset: float = 0.0
    rotation: float = 0.0
    scales: Sequence[float] = (1.0, 1.0, 1.0)
    atoms: int = 800
    lattice: float = 1.0


CASES = (
    Case("0.001 r.l.u.", 1e18, 0.001),
    Case("0.003 r.l.u.", 1e17, 0.003, atoms=MANY),
    Case("0.005 r.l.u.", 1e17, 0.005, atoms=MANY),
    Case("0.01 r.l.u.", 1e17, 0.01),
    Case("0.01 r.l.u.", 1e19, 0.01),
    Case("0.05 r.l.u.", 1e19, 0.05),
    Case("half a voxel", 1e19, -0.5),
    Case("0.05 degrees", 1e19, 0.0, 0.05),
    Case("0.01 r.l.u., 0.05 degrees, scales", 1e19, 0.01, 0.05, SCALES),
    Case("scales", 1e19, scales=SCALES),
    Case("lattice 0.3 %", 1e17, lattice=1.003),
    Case("lattice 0.3 %", 1e18, lattice=1.003),
    Case("lattice 0.3 %", 1e19, lattice=1.003),
    Case("lattice 0.05 %", 1e17, lattice=1.0005),
    Case("lattice 0.05 %", 1e19, lattice=1.0005),
)


def crystal(atoms: int) -> tuple[Atoms, list[BraggPatch]]:
    """Return a crystal and the patches that its file names."""
    if atoms == MANY:
        return prammol.make_crystal("vacancy"), paper_patches()
    points = round(30 * (atoms / 800) ** (1 / 3))
    return prammol.make_crystal("bulk", atoms=atoms, seed=3), paper_patches(points)


def measured(
    truth: Atoms,
    nominal: list[BraggPatch],
    flux: float,
    moved: tuple[np.ndarray, np.ndarray],
    scales: Sequence[float],
    seed: int,
    geometry: GeometryUncertainty,
) -> prammol.Diffraction:
    """Return counts of patches with offsets and rotation vectors, under the nominal ones."""
    true = [
        p.moved(Rotation.from_rotvec(turn).as_matrix(), offset)
        for p, offset, turn in zip(nominal, *moved, strict=True)
    ]
    c2 = scale_from_flux(flux, nominal, "Al") ** 2
    rng = np.random.default_rng([seed, 0])
    counts = []
    for patch, scale in zip(true, scales, strict=True):
        omega = StructureFactor([patch]).forward(truth.positions)
        mean = c2 * scale * np.abs(omega) ** 2
        counts.append(rng.poisson(mean).reshape(patch.shape).astype(float))
    return prammol.Diffraction(
        nominal, counts, meta={"element": "Al", "form_factor": "constant"}, geometry=geometry
    )


def examined(
    truth: Atoms, data: prammol.Diffraction, moved: tuple[np.ndarray, np.ndarray]
) -> dict[str, Any]:
    """Reconstruct and return a row."""
    begin = time.process_time()
    result = prammol.reconstruct(data, prammol.support_from_truth(truth), seed=1)
    core = time.process_time() - begin
    sigma = result.atoms.columns["position_sigma"]
    row = compared(truth, result.atoms.positions, sigma, result.calibration, moved)
    return {
        **row,
        "excess": f"{result.history[-1]['excess']:.4g}",
        "converged": result.converged,
        "reason": result.reason,
        "core_s": f"{core:.1f}",
    }


def laid(
    truth: Atoms, data: prammol.Diffraction, moved: tuple[np.ndarray, np.ndarray]
) -> dict[str, Any]:
    """Lay the true atoms on the counts and return a row."""
    begin = time.process_time()
    support, comm = prammol.support_from_truth(truth), Communicator()
    problem = make_problem(data, support, aluminium(), 1, comm)
    try:
        end = align_calibrated(problem, truth.positions, truth.positions)
        misfit = PoissonMisfit(end.problem.shard, end.problem.factor)
        omega = end.problem.factor.forward(end.positions)
        model = Model(end.positions, misfit.scale(omega), calibration=end.calibration)
        sigma = position_uncertainty(end.problem, model, 0, misfit).posterior
    finally:
        problem.cluster.close()
    excess = misfit.excess(omega, model.scale)[0]
    core = time.process_time() - begin
    row = compared(truth, end.positions, sigma, end.calibration, moved)
    return {**row, "excess": f"{excess:.4g}", "core_s": f"{core:.1f}"}


def compared(
    truth: Atoms,
    positions: np.ndarray,
    sigma: np.ndarray,
    fitted: Calibration | None,
    moved: tuple[np.ndarray, np.ndarray],
) -> dict[str, Any]:
    """Return errors of positions and calibration."""
    found = prammol.evaluate(positions, truth.positions, with_resolution=False)
    ratio = ratio_of(found, truth.positions, np.maximum(sigma, 1e-9))
    inside = within(ratio)
    off, turn = (fitted.offset, fitted.rotation) if fitted else (np.zeros((3, 3)),) * 2
    return {
        "atoms": len(truth),
        "n_missing": found.n_missing,
        "n_extra": found.n_extra,
        "mae_pm": f"{found.mae_pm:.4g}",
        "max_error_pm": f"{found.max_error_pm:.4g}",
        "error_bar_pm": f"{100 * np.linalg.norm(sigma, axis=1).mean():.4g}",
        "within_68": f"{inside[0]:.4f}",
        "within_95": f"{inside[1]:.4f}",
        "rms_ratio": f"{np.sqrt(np.mean(ratio**2)):.4g}",
        "offset_error": f"{np.abs(off - moved[0]).max():.3g}",
        "rotation_error": f"{np.abs(turn - moved[1]).max():.3g}",
    }


def of_cases(names: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Yield the rows of the mis-settings."""
    for case in CASES:
        if names and case.name not in names:
            continue
        truth, nominal = crystal(case.atoms)
        truth = Atoms(case.lattice * truth.positions, "Al")
        rng = np.random.default_rng(7)
        ways = [v / np.linalg.norm(v) for v in rng.normal(size=(2 * len(PAPER_PEAKS), 3))]
        size = np.full(3, case.offset * UNIT)
        offset = np.array(ways[:3]) * size
        if case.offset < 0:  # in voxels, along each axis
            offset = case.offset * np.sign(ways[:3]) * np.linalg.norm(nominal[0].step[0])
        moved = offset, np.radians(case.rotation) * np.array(ways[3:])
        data = measured(truth, nominal, case.flux, moved, case.scales, 1, GeometryUncertainty())
        row = {"part": "case", "condition": case.name, "trial": 0, "flux": f"{case.flux:g}"}
        yield {**row, **examined(truth, data, moved)}


def of_coverage(
    atoms: int, fluxes: Sequence[float], trials: range, last: bool
) -> Iterator[dict[str, Any]]:
    """Yield the rows of random mis-settings, drawn from what is said to be uncertain."""
    truth, nominal = crystal(atoms)
    geometry = GeometryUncertainty()
    for trial in trials:
        rng = np.random.default_rng([trial, 17])
        moved = (
            rng.normal(0.0, geometry.offset, (3, 3)),
            rng.normal(0.0, geometry.rotation, (3, 3)),
        )
        for flux in fluxes:
            data = measured(truth, nominal, flux, moved, (1.0,) * 3, trial, geometry)
            how, name = (laid, "true atoms") if last else (examined, "from counts")
            row = {"part": "coverage", "condition": name, "trial": trial, "flux": f"{flux:g}"}
            yield {**row, **how(truth, data, moved)}


def summary(rows: Sequence[dict[str, Any]]) -> None:
    """Print the parts of all coordinates inside of their intervals."""
    of_all = [row for row in rows if row["part"] == "coverage"]
    for kind, flux in dict.fromkeys((row["condition"], row["flux"]) for row in of_all):
        of = [row for row in of_all if (row["condition"], row["flux"]) == (kind, flux)]
        right = [r for r in of if int(r["n_missing"]) == int(r["n_extra"]) == 0]
        parts = [np.mean([float(r[k]) for r in right]) for k in ("within_68", "within_95")]
        print(
            f"{kind}, {flux}: {len(of)} trials, {len(right)} with the right atoms; "
            f"within 68 and 95 %: {parts[0]:.3f} {parts[1]:.3f}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="+", choices=("cases", "coverage"))
    parser.add_argument("--case", nargs="+", default=[], help="only these")
    parser.add_argument("--atoms", type=int, default=400, help="of the crystal of coverage [400]")
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--first", type=int, default=0, help="first trial [0]")
    parser.add_argument("--last-step", action="store_true", help="from the true atoms")
    parser.add_argument("--flux", type=float, nargs="+", default=[1e17, 1e18])
    parser.add_argument("-o", "--output", type=Path, default=Path("geometry.csv"))
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    if options.output.exists():
        rows = list(read_rows(options.output))
    origin = provenance()
    trials = range(options.first, options.first + options.trials)
    for part in options.parts:
        made = (
            of_cases(options.case)
            if part == "cases"
            else of_coverage(options.atoms, options.flux, trials, options.last_step)
        )
        for row in made:
            rows.append(row)
            print({k: row[k] for k in COLUMNS if k in row and k != "part"}, flush=True)
            write_rows(options.output, rows, origin, COLUMNS)
    summary(rows)


if __name__ == "__main__":
    main()
