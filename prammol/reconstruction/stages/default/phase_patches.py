"""Start of the default preset: phase each patch, then synthesise the sites."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from prammol.core.parallel import Communicator
from prammol.diffraction.deconvolution import deconvolved
from prammol.phasing.common_frame import in_common_frame
from prammol.phasing.fourier_synthesis import Waves, continued, synthesise
from prammol.phasing.grains import Twin, visible_twins
from prammol.phasing.hio_er import (
    PhasedPatch,
    bulk_amplitude,
    envelope_mask,
    phase_patch,
    stagnated,
    support_mask,
    trimmed,
)
from prammol.phasing.indexing import fit_cell, indexed
from prammol.phasing.known_reflections import phased_patches
from prammol.phasing.lattice_from_peaks import Sublattice, choose_sublattice, on_sublattice
from prammol.phasing.lattice_shift import shifted_weights
from prammol.reconstruction.problem import Problem
from prammol.reconstruction.refinement.background_fit import dark_background
from prammol.reconstruction.setting_kinds import Checked, Count, Part, Positive, Whole
from prammol.reconstruction.state import State
from prammol.reconstruction.subsampling import spare, thinned_grid
from prammol.structure.labels import Labels

_CLOSE = 0.05  # chosen: vectors that differ by strain have as many shifts; not varied

# derived: the amplitude at a flat surface, where a site is as sure as not
_SURE = 0.5


@dataclass(frozen=True)
class SiteGuesses:
    """Sites for :class:`~prammol.reconstruction.stages.default.choose_sites.ChooseSites`.

    Attributes
    ----------
    positions : (n, 3) ndarray
        Sites, of which some hold an atom [Å].
    occupancies : (k, n) ndarray
        Guesses between 0 and 1 for each shift of the lattice against the shape, the best first.
    others : tuple of SiteGuesses
        Those of other crystals that the peaks allow (:mod:`prammol.phasing.indexing`).
    labels : Labels, optional
        Which element is where, of a compound.
    """

    positions: NDArray[np.float64]
    occupancies: NDArray[np.float64]
    others: tuple[SiteGuesses, ...] = ()
    labels: Labels | None = None


@dataclass(frozen=True, eq=False)
class Grains:
    """Grains that the patches show, for JoinGrains.

    Attributes
    ----------
    cell : (3, 3) ndarray
        Rows are primitive vectors of the first grain [Å].
    origin : (3,) ndarray
        A site of it [Å].
    waves : Waves
        Of the first grain.
    twins : tuple of (Twin, Waves)
        The others, each after its parent.
    """

    cell: NDArray[np.float64]
    origin: NDArray[np.float64]
    waves: Waves
    twins: tuple[tuple[Twin, Waves], ...]


@dataclass(frozen=True)
class PhasePatches(Checked):
    """Phase the patches by HIO/ER and find the sites where their waves are in phase.

    Lattice constant, orientation, defects and number of atoms come from the data
    alone; the potential only gives the unit of length, and chooses if the peaks allow
    several lattices (:mod:`prammol.phasing.lattice_from_peaks`). Of a crystal with several atoms
    per primitive cell it also says which reflections the peaks are and where the atoms are in
    the cell (:mod:`prammol.phasing.indexing`).

    Attributes
    ----------
    blur : float
        Width of the real-space Gaussian that belongs to the window around each Bragg
        peak [neighbour distances].
    iterations : int
        Iterations of HIO and ER on each patch.
    attempts : int
        A patch that stagnates far from where its sisters get is phased again from other
        random phases, so often in all.
    envelope : float
        The second pass is confined to where the mean amplitude of the patches is above
        this fraction of the bulk's; it takes half as many iterations.
    threshold : float
        Sites with less than this fraction of the bulk's amplitude are dropped.
    shift_steps : int
        Shifts of the lattice against the shape along each primitive vector; along longer ones
        of a crystal with several atoms per cell more, so that they are as close.
    sublattice : int
        Which lattice to take if the peaks allow several, from 1, the one most like the
        potential's first; 0 is the potential's, and of a crystal with several atoms per cell
        all that the peaks allow are tried.
    """

    # chosen: 600 atoms at 1e18; same atoms from 0.375 to 1.5, 3, 5, 20 iterations
    blur: Positive = 0.75
    iterations: Count = 400  # chosen: 600 atoms at 1e18; same atoms from 200 to 800
    attempts: Count = 4  # chosen: 600 atoms at 1e18; same atoms from 2 to 8
    envelope: Part = 0.1  # chosen: 600 atoms at 1e18; same atoms from 0.05 to 0.2
    threshold: Part = 0.1  # chosen: 600 atoms at 1e18; same atoms from 0.05 to 0.2
    # chosen: off by an eighth of a vector at most; same atoms from 2 to 8 (600 atoms at 1e18)
    shift_steps: Count = 4
    sublattice: Whole = 0

    def __call__(self, problem: Problem, state: State) -> State:
        """Hand on all sites and, for each shift of the lattice, :class:`SiteGuesses`.

        The model gets the background below which the darkest points don't go, if there is one.
        """
        calibration = dark_background(problem)
        problem = problem.calibrated(calibration)
        state = replace(state, model=replace(state.model, calibration=calibration))
        distance = problem.potential.neighbour_distance
        chosen, unmeasured = phased_patches(problem.declared, problem.potential)
        width = 1.0 / (self.blur * distance)
        phased = self._phase(problem, chosen, width, state.status.start)
        waves = Waves(phased, problem.comm, unmeasured)
        rng = problem.rng("synthesise", state.status.start)
        synthesised = partial(
            synthesise, waves, problem.support, distance, rng, threshold=self.threshold
        )
        if problem.potential.has_basis:
            return state.handing(self._of_cells(problem, waves, synthesised))
        lattice = choose_sublattice(waves.peaks, problem.potential, self.sublattice)
        sites = synthesised(spacing=lattice.spacing if lattice.index > 1 else distance)
        sites = sites[on_sublattice(sites, lattice)]
        weights = shifted_weights(lattice.cell, waves, sites, self.shift_steps)
        state = state.handing(SiteGuesses(sites + waves.centre, np.atleast_2d(weights)))
        if problem.potential.structure != "fcc" or len(sites) == 0:
            return state
        cell, origin = fit_cell(sites, lattice.cell)
        twins = visible_twins(problem.declared, cell)
        others = [
            Waves(
                self._phase(problem, sorted(t.peaks), width, state.status.start, t.peaks),
                problem.comm,
            )
            for t in twins
        ]
        return state.handing(
            Grains(cell, origin + waves.centre, waves, tuple(zip(twins, others, strict=True)))
        )

    def _of_cells(
        self, problem: Problem, waves: Waves, synthesised: Callable[..., NDArray[np.float64]]
    ) -> SiteGuesses:
        """Return the guesses for all cells of several atoms that the peaks allow."""
        cells = indexed(waves.peaks, problem.potential)
        if self.sublattice:
            cells = cells[self.sublattice - 1 :][:1] or cells[:1]
        points = synthesised(spacing=cells[0].lattice.spacing)
        compound = problem.potential.compound
        if compound:
            # A point at the edge that is counted wrong would have the wrong element.
            size = np.abs(waves(points))
            points = points[(size / bulk_amplitude(size)).mean(axis=1) > _SURE]
        found = []
        for allowed in cells:
            origins = points[on_sublattice(points, allowed.lattice)]
            cell = allowed.fitted(origins)
            vectors = cell.lattice.cell
            for _ in range(1 + compound):
                origins = continued(origins, vectors)
            sites = cell.atoms(origins)
            amplitude = np.abs(waves(sites))
            strong = (amplitude / bulk_amplitude(amplitude)).mean(axis=1) > self.threshold
            steps = self._shifts(allowed.lattice, compound)
            weights = shifted_weights(vectors, waves, sites[strong], steps)
            labels = None
            if compound:
                members = np.repeat(np.arange(len(cell.motif)), len(origins))
                kinds = problem.potential.lattice.motif_kinds
                labels = Labels(sites + waves.centre, members, kinds, vectors, cell.motif)
            places = sites[strong] + waves.centre
            found.append(SiteGuesses(places, np.atleast_2d(weights), labels=labels))
        return replace(found[0], others=tuple(found[1:]))

    def _shifts(self, lattice: Sublattice, compound: bool) -> NDArray[np.int_]:
        """Return how many shifts along each primitive vector are tried, (3,).

        Half a vector is among those of a compound, where its elements change places.
        """
        length = np.linalg.norm(lattice.cell, axis=1)
        shortest = lattice.spacing if compound else length.min()
        steps = np.maximum(np.ceil(self.shift_steps * (length / shortest - _CLOSE)).astype(int), 1)
        return steps + steps % 2 if compound else steps

    def _phase(
        self,
        problem: Problem,
        chosen: list[int],
        width: float,
        start: int,
        peaks: Mapping[int, NDArray[np.float64]] | None = None,
    ) -> list[PhasedPatch]:
        """Phase some patches, around other peaks [1/Å] than their own if these are given.

        Apart in the support, then in their common envelope.
        """
        data = problem.declared
        centre = problem.support.centre
        steps = spare(problem)
        sharp = deconvolved(data, problem.extent, chosen)
        grids = {k: trimmed(thinned_grid(sharp, k, steps)) for k in chosen}
        if peaks is not None:
            grids = {k: replace(grid, peak=peaks[k]) for k, grid in grids.items()}
        masks = {k: support_mask(grids[k].patch, problem.support, centre) for k in chosen}

        def run(
            k: int, mask: NDArray[np.bool_], wave: NDArray[np.complex64], iterations: int
        ) -> PhasedPatch:
            return phase_patch(grids[k], width, mask, centre, wave, iterations)

        def first(k: int, attempt: int) -> PhasedPatch:
            rng = problem.rng(f"phase patch {k}", start + 1000 * attempt)
            turns = rng.random(grids[k].patch.shape)
            wave = np.exp(2j * np.pi * turns).astype(np.complex64)
            return run(k, masks[k], wave, self.iterations)

        phased = _spread(chosen, partial(first, attempt=0), problem.comm)
        for attempt in range(1, self.attempts):
            again = _spread(stagnated(phased), partial(first, attempt=attempt), problem.comm)
            phased |= {k: p for k, p in again.items() if p.error < phased[k].error}

        def closer(k: int) -> PhasedPatch:
            mask = envelope_mask(waves, grids[k].patch, masks[k], self.envelope)
            return run(k, mask, framed[k].field, self.iterations // 2)

        framed = in_common_frame(phased, masks)
        for _ in range(self.attempts):
            waves = Waves([framed[k] for k in chosen], Communicator())
            phased = _spread(chosen, closer, problem.comm)
            framed = in_common_frame(phased, masks)
            if all(framed[k] is phased[k] for k in chosen):
                break  # else one that had its own hand wasn't in the envelope of the others
        return [framed[k] for k in chosen]


def _spread(
    items: list[int], work: Callable[[int], PhasedPatch], comm: Communicator
) -> dict[int, PhasedPatch]:
    """Do some work for each item on one rank, and hand the results to all."""
    mine = {k: work(k) for n, k in enumerate(items) if n % comm.size == comm.rank}
    out: dict[int, PhasedPatch] = {}
    for part in comm.gather(mine):
        out.update(part)
    return out
