"""Which reflections three Bragg peaks are, and so where the atoms of a cell with a basis lie.

Lengths and angles of the peaks are compared with those of the reflections of the potential's
crystal. The indices of three independent peaks give the cell as it lies in the crystal, strained
and turned as it is, and the atoms in it. The waves of the peaks are in phase on one lattice of
points, and any of these can be the cell's origin: what the structure factor of the cell adds to
their phases is a shift of all of them, and phasing each patch alone leaves such shifts open
anyhow. Indices that no symmetry of the crystal makes equal are different crystals, among which
the counts decide.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product

import gemmi
import numpy as np
from numpy.typing import NDArray

from prammol.core.errors import DataError
from prammol.phasing.lattice_from_peaks import Sublattice, explain, reduced
from prammol.potentials.potential import Potential
from prammol.structure.lattices import Lattice, structure_factors

# Strain, a potential for another lattice constant and the points of a coarse grid are less.
NEAR = 0.1  # chosen: the brightest points of 200 atoms of Ni3Al are off by 0.06; not varied
_WORSE = 0.03  # chosen: half of that; not varied
_FEWEST = 20  # chosen: so many points fix a cell; not varied
_REACHES = (2, 4, np.inf)  # chosen: a cell off by 0.06 counts so far without error; not varied
# Intensity of a reflection in units of that of the strongest one of as many atoms.
BLIND = 1e-3  # chosen: extinct ones are 0, others of hcp and diamond above 0.06; not varied


@dataclass(frozen=True, eq=False)
class Cell:
    """A primitive cell with its atoms, as three peaks place it.

    Attributes
    ----------
    indices : (3, 3) int ndarray
        Indices (h, k, l) of the peaks as rows, of the structure's own cell.
    lattice : Sublattice
        The lattice of cells among the points where the peaks' waves are in phase.
    motif : (m, 3) ndarray
        Atoms of a cell from its origin [Å].
    """

    indices: NDArray[np.int_]
    lattice: Sublattice
    motif: NDArray[np.float64]

    def fitted(self, points: NDArray[np.float64]) -> Cell:
        """Return the cell that fits points of its lattice best, (n, 3) [Å].

        Points say the cell better than peaks do, which are known to a step of their grid.
        """
        before = self.lattice.cell
        cell, _ = fit_cell(points, before)
        basis = self.lattice.basis
        lattice = replace(self.lattice, dense=np.asarray(np.linalg.inv(basis) @ cell, dtype=float))
        return replace(self, lattice=lattice, motif=self.motif @ np.linalg.inv(before) @ cell)

    def atoms(self, origins: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the atoms of cells at origins, (n, 3) [Å], one kind after the other, (m n, 3)."""
        return np.asarray((self.motif[:, None] + origins).reshape(-1, 3))


def fit_cell(
    points: NDArray[np.float64], cell: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return primitive vectors that fit points of a lattice best, rows of (3, 3) [Å], and a point.

    Parameters
    ----------
    points : (n, 3) ndarray
        Some points of the lattice [Å]; the cell stays as it is if they are few.
    cell : (3, 3) ndarray
        Primitive vectors, to within a few percent [Å].
    """
    origin = points[np.linalg.norm(points - points.mean(axis=0), axis=1).argmin()]
    if len(points) < _FEWEST:
        return cell, origin
    for reach in _REACHES:
        steps = np.rint((points - origin) @ np.linalg.inv(cell))
        near = np.abs(steps).max(axis=1) <= reach
        design = np.column_stack([steps, np.ones(len(steps))])[near]
        found, _, rank, _ = np.linalg.lstsq(design, points[near], rcond=None)
        if rank == 4:
            cell, origin = found[:3], found[3]
    return cell, origin


def indexed(peaks: NDArray[np.float64], potential: Potential) -> list[Cell]:
    """Return the cells that three peaks allow, the one that fits best first.

    Parameters
    ----------
    peaks : (3, 3) ndarray
        Bragg vectors [1/Å].
    potential : Potential
        Gives the structure and its lattice constant.

    Raises
    ------
    DataError
        If the peaks are no reflections of the structure, or of such as its atoms extinguish.
    """
    lattice = potential.lattice
    unit = lattice.reciprocal / potential.lattice_constant
    length = np.linalg.norm(peaks, axis=1)
    known = reflections(unit, float(length.max()) * (1 + NEAR))
    size = np.linalg.norm(known @ unit, axis=1)
    groups = [known[np.abs(size / own - 1) < NEAR] for own in length]
    wanted = peaks @ peaks.T / np.outer(length, length)
    found: dict[tuple[int, ...], tuple[float, NDArray[np.int_]]] = {}
    blind: tuple[float, NDArray[np.int_] | None] = np.inf, None
    for triple in map(np.array, _triples(groups, unit, length, wanted)):
        rows = triple @ unit
        deviation = float(np.abs(rows @ rows.T / np.outer(length, length) - wanted).max())
        strength = strengths(triple, potential)
        if strength.min() < BLIND:
            if deviation < blind[0] - 1e-9:
                blind = deviation, triple[strength.argmin()]
            continue
        key = min(tuple((triple @ turn).ravel().tolist()) for turn in lattice.symmetries)
        if key not in found or deviation < found[key][0] - 1e-9:
            found[key] = deviation, triple
    if not found:
        raise DataError(_refusal(length, potential, blind[1]))
    best = min(deviation for deviation, _ in found.values())
    ranked = sorted(
        (v for v in found.values() if v[0] < best + _WORSE), key=lambda v: round(v[0], 6)
    )
    return [_cell(peaks, triple, lattice, deviation) for deviation, triple in ranked]


def strengths(indices: NDArray[np.int_], potential: Potential) -> NDArray[np.float64]:
    """Return the intensities of reflections, (n,), those of all atoms in phase being 1.

    Parameters
    ----------
    indices : (n, 3) int ndarray
        Of the structure's own cell.
    potential : Potential
        Gives the structure and its elements.
    """
    numbers = [gemmi.Element(name).atomic_number for name in potential.elements]
    electrons = np.array(numbers)[potential.lattice.kind_of_site] / numbers[0]
    factors = structure_factors(potential.lattice, indices, electrons)
    return np.asarray(np.abs(factors) ** 2 / sum(electrons) ** 2)


def lattice_note(peaks: NDArray[np.float64], potential: Potential, sublattice: int) -> str | None:
    """Return a sentence if three peaks don't fix the crystal, None if they do.

    Parameters
    ----------
    peaks : (3, 3) ndarray
        Bragg vectors [1/Å].
    potential : Potential
    sublattice : int
        Setting of :class:`~prammol.reconstruction.stages.default.phase_patches.PhasePatches`.

    Raises
    ------
    DataError
        If neither the potential nor the setting `sublattice` settles it.
    """
    if potential.has_basis:
        cells = indexed(peaks, potential)
        if len(cells) == 1 or sublattice:
            return None
        return (
            f"the Bragg peaks don't fix the crystal: {len(cells)} orientations of "
            f"{potential.structure} fit, all are tried"
        )
    return explain(peaks, potential, sublattice)


def reflections(unit: NDArray[np.float64], longest: float) -> NDArray[np.int_]:
    """Return the indices of all reflections up to a length [1/Å], (n, 3), but 0."""
    cell = 2 * np.pi * np.linalg.inv(unit)
    most = np.floor(longest * np.linalg.norm(cell, axis=0) / (2 * np.pi)).astype(int)
    all_ = np.array(list(product(*(range(-m, m + 1) for m in most))))
    size = np.linalg.norm(all_ @ unit, axis=1)
    return all_[(size > 0) & (size < longest)]


def _triples(
    groups: list[NDArray[np.int_]],
    unit: NDArray[np.float64],
    length: NDArray[np.float64],
    wanted: NDArray[np.float64],
) -> list[tuple[NDArray[np.int_], ...]]:
    """Return one reflection of each group, where the angles are those that are wanted."""

    def like(k: int, one: NDArray[np.int_], m: int, group: NDArray[np.int_]) -> NDArray[np.int_]:
        cosine = (group @ unit) @ (one @ unit) / (length[k] * length[m])
        return group[np.abs(cosine - wanted[k, m]) < NEAR]

    out = []
    for a in groups[0]:
        third = like(0, a, 2, groups[2])
        for b in like(0, a, 1, groups[1]):
            out += [(a, b, c) for c in like(1, b, 2, third)]
    return [t for t in out if abs(np.linalg.det(np.array(t))) > 0.5]


def _cell(
    peaks: NDArray[np.float64], indices: NDArray[np.int_], lattice: Lattice, deviation: float
) -> Cell:
    points = np.asarray(2 * np.pi * np.linalg.inv(peaks).T, dtype=float)
    vectors = indices.T @ points
    dense = reduced(points)
    basis = np.rint(lattice.primitive @ vectors @ np.linalg.inv(dense)).astype(int)
    return Cell(indices, Sublattice(dense, basis, deviation), lattice.motif @ vectors)


def _refusal(
    length: NDArray[np.float64], potential: Potential, blind: NDArray[np.int_] | None
) -> str:
    where = ", ".join(f"{value:.2f}" for value in length)
    name = f"{potential.structure} {''.join(potential.elements)}"
    if blind is not None:
        return (
            f"the Bragg peaks at {where} 1/Å would be reflections of {name} of which "
            f"({blind[0]} {blind[1]} {blind[2]}) is extinct, the atoms of a cell cancel in it; "
            "expected three that scatter"
        )
    return (
        f"the Bragg peaks at {where} 1/Å are no three reflections of {name} with a lattice "
        f"constant of {potential.lattice_constant:.3f} Å; are the potential and the peaks of the "
        "same crystal?"
    )
