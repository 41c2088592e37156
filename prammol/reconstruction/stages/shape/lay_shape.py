"""Start of preset shape: phase each patch, lay the lattice into what it shows."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csgraph, csr_array
from scipy.spatial import cKDTree

from prammol.core.errors import DataError
from prammol.diffraction.bragg_patch import BraggPatch
from prammol.diffraction.structure_factor import StructureFactor
from prammol.likelihood.quasi_likelihood import PoissonMisfit
from prammol.phasing.hio_er import MeasuredPatch, bulk_amplitude, phase_patch, support_mask, trimmed
from prammol.phasing.known_reflections import phased_patches
from prammol.phasing.lattice_from_peaks import choose_sublattice
from prammol.reconstruction.occupancy.polyhedron import bounding, likeliest, nearest, within
from prammol.reconstruction.occupancy.surface_blocks import SurfaceLattice
from prammol.reconstruction.problem import Problem
from prammol.reconstruction.refinement.even_fit import fit_even
from prammol.reconstruction.setting_kinds import Checked, Count, Parts, Positive
from prammol.reconstruction.state import State
from prammol.reconstruction.verdict import judge

Floats = NDArray[np.float64]

_MARGIN = 1.5  # outside of a support [neighbour distances]; chosen: not varied
_ROUNDS = 12  # chosen: a limit that hardly binds; not varied
_LOOSE = 1e-2  # chosen: as complete_atoms.force_tolerance; not varied
_FEWEST = 20  # derived: less has no inside
_BURIED = 10  # derived: of twelve neighbours; what lacks so few isn't at a surface


@dataclass(frozen=True)
class LayShape(Checked):
    """Phase the patches in the support and fill sites of the lattice where there is something.

    Each patch by HIO and ER, from the phases of the support itself and from random ones. The
    amplitudes tell the shape to a fraction of a voxel. Where the lattice lies against it, and at
    which level its surface is, the counts decide among some shifts and levels.

    Attributes
    ----------
    iterations : int
        Iterations of HIO and ER on each patch.
    attempts : int
        Starts for each patch, the best fit is taken.
    shift_steps : int
        Shifts of the lattice along each primitive vector.
    levels : tuple of float
        Levels at which the surface may be, in units of the amplitude of the bulk.
    tried : int
        Shifts for which polyhedra are looked for.
    relaxed : int
        Polyhedra that are relaxed and improved in turn; the likeliest is the start.
    significance : float
        See :class:`~prammol.reconstruction.stages.default.relax_and_align.RelaxAndAlign`.
    """

    iterations: Count = 300  # chosen: not varied
    attempts: Count = 4  # chosen: not varied
    shift_steps: Count = 4  # chosen: as phase_patches.shift_steps; not varied
    levels: Parts = (0.4, 0.5, 0.6)  # chosen: around a flat surface's half; not varied
    tried: Count = 16  # chosen: not varied
    relaxed: Count = 4  # chosen: not varied
    significance: Positive = 5.0  # derived: five standard deviations

    def __call__(self, problem: Problem, state: State) -> State:
        """Return the state with the atoms of the likeliest polyhedron, relaxed."""
        misfit = PoissonMisfit(problem.shard, problem.factor)
        likely = sorted(
            (self._polyhedron(problem, misfit, x) for x in self._fillings(problem, state)),
            key=lambda pair: pair[0],
        )
        ends = [relaxed_polyhedron(problem, misfit, x) for _, x in likely[: self.relaxed]]
        _, x = min(ends, key=lambda pair: pair[0])
        model = replace(state.model, positions=x)
        model, verdict = judge(problem, model, problem.factor.forward(x), self.significance)
        return replace(state.changed(x, added=len(x)), model=model, verdict=verdict)

    def _polyhedron(
        self, problem: Problem, misfit: PoissonMisfit, x: Floats
    ) -> tuple[float, Floats]:
        """Return J and atoms of a likely polyhedron near some atoms, not relaxed."""
        fit = fit_even(misfit, x)
        x, value = fit.positions, fit.value
        lattice = SurfaceLattice.of_atoms(x, problem.potential.lattice)
        if lattice is None:
            return value, x
        heights, _ = likeliest(lattice, misfit, nearest(lattice.layers, lattice.taken))
        found = lattice.atoms(within(lattice.layers, heights))
        return misfit(found).value, found

    def _fillings(self, problem: Problem, state: State) -> list[Floats]:
        """Return the atoms that the patches show, for the likeliest shifts of the lattice."""
        chosen, unmeasured = phased_patches(problem.declared, problem.potential)
        peaks = np.vstack([problem.data.peaks()[chosen], unmeasured])
        cell = choose_sublattice(peaks, problem.potential).cell
        centre = problem.support.centre
        fields = [self._phased(problem, k, state.status.start) for k in chosen]
        room = problem.support.centres() - centre
        reach = _MARGIN * problem.potential.neighbour_distance
        sites = _around(room, cell, reach)
        misfit = PoissonMisfit(problem.shard, problem.factor)
        found: list[tuple[float, Floats]] = []
        for part in product(np.arange(self.shift_steps) / self.shift_steps, repeat=3):
            x = sites + (np.array(part) - 0.5) @ cell
            size = np.column_stack([np.abs(f.adjoint(v, x)) for f, v in fields])
            amplitude = (size / bulk_amplitude(size)).mean(axis=1)
            own = []
            for level in self.levels:
                y = _solid(x, amplitude > level, problem.potential.bond_reach)
                if len(y) >= _FEWEST:
                    own.append((misfit(y + centre).value, y + centre))
            if own:
                found.append(min(own, key=lambda pair: pair[0]))
        if not found:
            msg = (
                f"{problem.data.source}: phase retrieval finds no crystal in the support, expected "
                "one that fills a good part of it"
            )
            raise DataError(msg)
        found.sort(key=lambda pair: pair[0])
        return [x for _, x in found[: self.tried]]

    def _phased(
        self, problem: Problem, k: int, start: int
    ) -> tuple[StructureFactor, NDArray[np.complex128]]:
        """Return the transform of patch k relative to the centre of the support, and its field."""
        data = problem.declared
        patch, signal, valid = data.gridded(k)
        measured = trimmed(MeasuredPatch(patch, data.peaks()[k], signal, valid))
        centre, peak = problem.support.centre, measured.peak
        mask = support_mask(measured.patch, problem.support, centre)
        width = 0.5 * min(
            n * float(np.linalg.norm(s)) / 2
            for n, s in zip(measured.patch.shape, measured.patch.step, strict=True)
        )
        # About the peak: the waves of the support itself, as if it were even.
        moved = BraggPatch(measured.patch.origin - peak, measured.patch.step, measured.patch.shape)
        even = StructureFactor([moved]).forward(problem.support.centres() - centre)
        rng = problem.rng(f"lay shape {k}", start)
        waves = [np.exp(1j * np.angle(even)).reshape(moved.shape)]
        waves += [np.exp(2j * np.pi * rng.random(moved.shape)) for _ in range(self.attempts - 1)]
        trials = [
            phase_patch(measured, width, mask, centre, wave.astype(np.complex64), self.iterations)
            for wave in waves
        ]
        best = min(trials, key=lambda trial: trial.error)
        return StructureFactor([best.patch]), best.field.astype(complex).ravel()


def relaxed_polyhedron(problem: Problem, misfit: PoissonMisfit, x: Floats) -> tuple[float, Floats]:
    """Return J and atoms of a polyhedron, relaxed and improved in turn, from unrelaxed ones."""
    best, near = (np.inf, x), None
    for _ in range(_ROUNDS):
        y, _, _ = problem.cluster.relax(x, force_tolerance=_LOOSE)
        fit = fit_even(misfit, y, near)
        near = fit.coefficients
        if fit.value >= best[0]:
            break
        best = (fit.value, fit.positions)
        lattice = SurfaceLattice.of_atoms(fit.positions, problem.potential.lattice)
        if lattice is None:
            break
        heights, _ = likeliest(lattice, misfit, bounding(lattice.layers, lattice.taken))
        inside = within(lattice.layers, heights)
        if np.array_equal(inside, lattice.taken):
            break
        x = lattice.atoms(inside)
    return best


def _around(room: Floats, cell: Floats, reach: float) -> Floats:
    """Return lattice points within some distance of where atoms may be, (n, 3) [Å]."""
    inverse = np.linalg.inv(cell)
    part = room @ inverse
    more = np.ceil(reach * np.linalg.norm(inverse, axis=0)).astype(int) + 1
    low, high = (
        np.floor(part.min(axis=0)).astype(int) - more,
        np.ceil(part.max(axis=0)).astype(int) + more,
    )
    grid = np.stack(
        np.meshgrid(*[np.arange(a, b + 1) for a, b in zip(low, high, strict=True)], indexing="ij")
    )
    x = grid.reshape(3, -1).T @ cell
    gap = cKDTree(room).query(x, distance_upper_bound=2 * reach + _spacing(room))[0]
    return np.asarray(x[np.isfinite(gap)])


def _spacing(room: Floats) -> float:
    """Return the distance of neighbouring voxels."""
    return float(cKDTree(room).query(room[:1], k=2)[0][0, 1]) if len(room) > 1 else 0.0


def _solid(x: Floats, inside: NDArray[np.bool_], reach: float) -> Floats:
    """Return the largest piece of the sites inside, what it encloses filled, (n, 3)."""
    pairs = cKDTree(x).query_pairs(reach, output_type="ndarray")

    def largest(which: NDArray[np.bool_]) -> NDArray[np.bool_]:
        own = pairs[which[pairs].all(axis=1)]
        graph = csr_array((np.ones(len(own)), (own[:, 0], own[:, 1])), shape=(len(x), len(x)))
        label = csgraph.connected_components(graph, directed=False)[1]
        sizes = np.bincount(label[which], minlength=label.max() + 1)
        return np.asarray(which & (label == sizes.argmax()))

    if not inside.any():
        return x[:0]
    inside = ~largest(~largest(inside)) if not inside.all() else inside
    for _ in range(3):
        number = np.bincount(pairs[inside[pairs[:, 1]], 0], minlength=len(x))
        number += np.bincount(pairs[inside[pairs[:, 0]], 1], minlength=len(x))
        inside = inside | (number >= _BURIED)
    return np.asarray(x[inside])
