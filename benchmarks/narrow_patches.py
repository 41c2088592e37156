"""Strain from narrow patches: preset shape beside phase retrieval by cohere, on the same counts.

    python benchmarks/narrow_patches.py -o docs/results/narrow-patches.csv

This makes docs/results/narrow-patches.csv; no picture. The crystal is a truncated octahedron of
platinum with one corner missing and half a layer on a face, relaxed by the potential that preset
shape knows: what a wrong potential does isn't in the table. cohere (4 x (20 ER + 80 HIO) + 60 ER,
shrink-wrap) gets eight starts, of which the one with the least error counts; needs the extra
phasing. Strain along the first peak is the derivative of the phase of the object that the patch
holds, at the atoms of the truth, less its median: the same for the truth, for cohere and for the
atoms of preset shape. Rows are added to a table that is there.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from provenance import add_row, provenance
from scipy.optimize import minimize
from scipy.spatial import cKDTree

import prammol
from prammol.diffraction.structure_factor import StructureFactor
from prammol.potentials.lammps import Cluster
from prammol.structure.crystal_fields import lattice_sites, lattice_strain
from prammol.structure.fitted_lattice import fit_lattice, lattice_bonds

COLUMNS = ("radius", "atoms", "half_width", "peaks", "flux", "photons", "seed")
COLUMNS += ("along_true_inside", "along_cohere_inside", "along_shape_inside")
COLUMNS += ("along_true_surface", "along_cohere_surface", "along_shape_surface")
COLUMNS += ("cohere_correlation", "shape_correlation", "true_inside", "shape_inside")
COLUMNS += ("true_surface", "shape_surface", "sigma_inside", "sigma_surface")
COLUMNS += ("cover68_inside", "cover95_inside", "cover68_surface", "cover95_surface")
COLUMNS += ("n_missing", "n_extra", "lattice_error", "excess", "converged", "core_s")
PEAKS = np.array([(-1, 1, 1), (1, -1, 1), (1, 1, -1)])
DEEP = 10.0  # Å
RECIPE = {
    "algorithm_sequence": "4*(20*ER.SW+80*HIO)+60*ER",
    "shrink_wrap_trigger": [1, 20],
    "shrink_wrap_type": "GAUSS",
    "shrink_wrap_threshold": 0.15,
    "shrink_wrap_gauss_sigma": 1.0,
    "hio_beta": 0.9,
    "initial_support_area": [0.5, 0.5, 0.5],
}


def particle(potential: Any, radius: float, seed: int) -> np.ndarray:
    """Return the atoms, (n, 3) [Å]; the seed moves the planes that cut it out."""
    a = potential.lattice_constant
    move = np.array([0.3, 0.7, 0.2]) if seed == 1 else a * np.random.default_rng(seed).random(3)
    n = int(np.ceil(radius / a)) + 2
    cells = np.array(np.meshgrid(*[np.arange(-n, n + 1)] * 3)).reshape(3, -1).T
    x = a * (cells[:, None] + potential.lattice.basis).reshape(-1, 3) + move
    face = np.array([(i, j, k) for i in (1, -1) for j in (1, -1) for k in (1, -1)]) / 3**0.5
    keep = (abs(x) < radius * 0.88).all(axis=1) & (abs(x @ face.T) < radius * 0.82).all(axis=1)
    keep &= x @ np.ones(3) / 3**0.5 < radius * 0.70
    keep &= ~((x[:, 0] > x[keep, 0].max() - 0.1) & (x[:, 1] > 0))
    cluster = Cluster(potential)
    out, _, _ = cluster.relax(x[keep], force_tolerance=1e-4)
    cluster.close()
    return out


def patches(potential: Any, half: float, radius: float) -> list[Any]:
    """Return three patches that reach so far from their peaks [r.l.u.], 2.6 points a fringe."""
    unit = 2 * np.pi / potential.lattice_constant
    n = int(np.ceil(2 * half * 2 * radius / potential.lattice_constant * 2.6))
    n = max(n + n % 2, 8)
    step = 2 * half * unit / n
    return [
        prammol.BraggPatch((h - half * (1 - 1 / n)) * unit, np.eye(3) * step, (n,) * 3)
        for h in PEAKS
    ]


def phased(counts: np.ndarray, starts: int) -> np.ndarray:
    """Return the structure factor of cohere's best object, in the order of the patch."""
    os.environ["MPLBACKEND"] = "Agg"
    import cohere_core.controller.phasing as cohere

    best: tuple[float, Any] = (np.inf, None)
    with tempfile.TemporaryDirectory() as folder:
        file = os.path.join(folder, "data.npy")
        np.save(file, np.sqrt(counts))
        for start in range(starts):
            np.random.seed(start)  # noqa: NPY002  what cohere draws from
            work = cohere.create_rec(RECIPE, file, "np", -1)
            if work.iterate() == 0 and work.errs[-1] < best[0]:
                best = (work.errs[-1], np.asarray(work.get_image()))
    return np.fft.fftshift(np.fft.fftn(np.fft.ifftshift(best[1])))


def laid(field: np.ndarray, true: np.ndarray, grid: Any) -> tuple[float, np.ndarray]:
    """Return correlation and field, moved and inverted to fit the true one."""
    kappa = (grid.q() - grid.middle).reshape(*grid.shape, 3)
    voxel = grid.voxel()
    best: tuple[float, Any] = (-1.0, None)
    # cohere's image may have its transform's sign the other way round.
    for one in (field, field.conj(), field[::-1, ::-1, ::-1], field[::-1, ::-1, ::-1].conj()):
        norm = np.linalg.norm(one) * np.linalg.norm(true)
        product = np.fft.fftn(one * true.conj())
        top = np.array(np.unravel_index(np.abs(product).argmax(), product.shape))
        top = (top + np.array(product.shape) // 2) % product.shape - np.array(product.shape) // 2

        def lacks(shift: np.ndarray, one: np.ndarray = one, norm: float = norm) -> float:
            return -abs(np.sum(one * true.conj() * np.exp(-1j * kappa @ shift))) / norm

        begin = top @ voxel
        simplex = np.vstack([begin, begin + 0.5 * voxel])
        options = {"initial_simplex": simplex, "xatol": 1e-3, "fatol": 1e-9}
        found = minimize(lacks, begin, method="Nelder-Mead", options=options)
        if -found.fun > best[0]:
            best = (-found.fun, one * np.exp(-1j * kappa @ found.x))
    return best


def along(field: np.ndarray, factor: Any, x: np.ndarray, peak: np.ndarray) -> np.ndarray:
    """Return the strain along a peak at atoms, (n,), from the phase of the object."""
    values = field.ravel()
    wave = factor.adjoint(values, x)
    slope = factor.adjoint_moments(values, x) / wave[:, None] - peak
    # The phase is -G.u and the wave exp(i q.x): its derivative along G, over the length of G.
    strain = -(slope.real @ peak) / float(peak @ peak)
    return np.asarray(strain - np.median(strain))


def matched(y: np.ndarray, x: np.ndarray, lattice: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return which atoms of both are on the same sites, at the best shift, inverted or not."""
    from scipy.signal import fftconvolve

    def sites(z: np.ndarray) -> np.ndarray:
        fitted = fit_lattice(z, lattice)
        return np.rint(2 * lattice_sites(z, fitted, lattice_bonds(z, fitted))[0]).astype(int)

    def grid(site: np.ndarray) -> np.ndarray:
        out = np.zeros(np.ptp(site, axis=0) + 1)
        out[tuple((site - site.min(axis=0)).T)] = 1
        return out

    true, found = sites(x), sites(y)
    best: tuple[float, Any] = (-1.0, None)
    for sign in (1, -1):
        own = grid(sign * found)
        overlap = fftconvolve(grid(true), own[::-1, ::-1, ::-1])
        top = np.array(np.unravel_index(overlap.argmax(), overlap.shape))
        shift = top - np.array(own.shape) + 1 + true.min(axis=0) - (sign * found).min(axis=0)
        best = max(best, (float(overlap.max()), sign * found + shift), key=lambda b: b[0])
    number = {tuple(site): k for k, site in enumerate(true)}
    partner = np.array([number.get(tuple(site), -1) for site in best[1]])
    own = np.flatnonzero(partner >= 0)
    return own, partner[own]


def rms(values: np.ndarray) -> str:
    return f"{float(np.sqrt(np.nanmean(values**2))):.3g}"


def examined(options: argparse.Namespace, half: float, peaks: int, flux: float, seed: int) -> Any:
    """Draw counts, reconstruct in both ways and return a row."""
    potential = prammol.choose_potential("Pt", "Pt_u3.eam")
    x = particle(potential, options.radius, seed)
    grids = patches(potential, half, options.radius)
    full = prammol.simulate(prammol.Atoms(x, "Pt"), flux, seed, grids, potential=potential)
    data = full.of_patches(range(peaks))
    if peaks < 3:
        known = PEAKS[peaks:] * 2 * np.pi / potential.lattice_constant
        data = replace(data, unmeasured=known)
    support = prammol.support_from_truth(prammol.Atoms(x, "Pt"), options.support)
    begin = time.process_time()
    result = prammol.reconstruct(data, support, potential, preset="shape", seed=seed)
    seconds = time.process_time() - begin
    y = result.atoms.positions

    factor = StructureFactor(grids[:1], 1e-9)
    true = factor.forward(x).reshape(grids[0].shape)
    peak = data.peaks()[0]
    depth = cKDTree(x[_bare(x, potential)]).query(x)[0]
    deep = depth > DEEP
    likely, shape = laid(factor.forward(y).reshape(grids[0].shape), true, grids[0])
    correlation, retrieved = laid(phased(data.counts[0], options.starts), true, grids[0])
    strains = {
        "true": along(true, factor, x, peak),
        "cohere": along(retrieved, factor, x, peak),
        "shape": along(shape, factor, x, peak),
    }
    row: dict[str, Any] = {}
    for name, values in strains.items():
        error = values if name == "true" else values - strains["true"]
        row[f"along_{name}_inside"] = rms(error[deep] - np.median(error[deep]))
        row[f"along_{name}_surface"] = rms(error[~deep] - np.median(error[deep]))

    own, partner = matched(y, x, potential.lattice)
    fitted, of_truth = fit_lattice(y, potential.lattice), fit_lattice(x, potential.lattice)
    strain = lattice_strain(
        x, replace(of_truth, constant=fitted.constant), lattice_bonds(x, of_truth)
    )
    zero = lattice_strain(x, of_truth, lattice_bonds(x, of_truth))
    error = result.atoms.columns["strain_mean"][own] - strain[partner]
    sigma = result.atoms.columns["strain_sigma"][own]
    for name, there in (("inside", deep), ("surface", ~deep)):
        here = there[partner] & np.isfinite(error + sigma).all(axis=1)
        row[f"true_{name}"] = rms(zero[there])
        row[f"shape_{name}"] = rms(error[here])
        row[f"sigma_{name}"] = rms(sigma[here])
        for percent, width in ((68, 1.0), (95, 1.96)):
            within = np.abs(error[here]) <= width * sigma[here]
            row[f"cover{percent}_{name}"] = f"{within.mean():.3f}"
    return {
        **row,
        "radius": options.radius,
        "atoms": len(x),
        "half_width": half,
        "peaks": peaks,
        "flux": f"{flux:g}",
        "photons": f"{data.total_counts:.3g}",
        "seed": seed,
        "cohere_correlation": f"{correlation:.4f}",
        "shape_correlation": f"{likely:.4f}",
        "n_missing": len(x) - len(own),
        "n_extra": len(y) - len(own),
        "lattice_error": f"{fitted.constant / of_truth.constant - 1:.2g}",
        "excess": f"{result.misfit_sigma:.3g}",
        "converged": result.converged,
        "core_s": f"{seconds:.0f}",
    }


def _bare(x: np.ndarray, potential: Any) -> np.ndarray:
    """Return which atoms lack neighbours, (n,)."""
    number = cKDTree(x).query_ball_point(x, potential.bond_reach, return_length=True) - 1
    return np.asarray(number < potential.lattice.coordination)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--radius", type=float, default=25.0, help="of the particle [25 Å]")
    parser.add_argument("--half-widths", type=float, nargs="+", default=[0.1, 0.15, 0.2])
    parser.add_argument("--peaks", type=int, nargs="+", choices=(1, 2, 3), default=[1, 3])
    parser.add_argument("--flux", type=float, nargs="+", default=[1e15])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3], help="of shape and run")
    parser.add_argument("--starts", type=int, default=8, help="of cohere [8]")
    parser.add_argument("--support", type=float, default=10.0, help="its resolution [10 Å]")
    parser.add_argument("-o", "--output", type=Path, default=Path("narrow-patches.csv"))
    options = parser.parse_args()
    origin = provenance()
    for half in options.half_widths:
        for peaks in options.peaks:
            for flux in options.flux:
                for seed in options.seeds:
                    row = examined(options, half, peaks, flux, seed)
                    add_row(options.output, row, origin, COLUMNS)


if __name__ == "__main__":
    main()
