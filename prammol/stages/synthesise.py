"""Start of the default preset: phase each patch, then synthesise the sites."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from prammol.comm import Communicator
from prammol.diffraction import Diffraction
from prammol.lattice_shift import shifted_weights
from prammol.phasing import (
    PhasedPatch,
    envelope_mask,
    phase_patch,
    stagnated,
    support_mask,
    trimmed,
)
from prammol.potentials import Potential
from prammol.state import Problem, State
from prammol.sublattice import choose_sublattice, explain, on_sublattice
from prammol.synthesis import Waves, synthesise
from prammol.thinning import spare, thinned_grid

_WIDE = 0.2  # determinant of unit Bragg vectors below which they are nearly in one plane


@dataclass(frozen=True)
class Synthesise:
    """Phase the patches by HIO/ER and find the sites where their waves are in phase.

    Lattice constant, orientation, defects and number of atoms come from the data
    alone; the potential only gives the unit of length, and chooses if the peaks allow
    several lattices (:mod:`prammol.sublattice`).

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
        Shifts of the lattice against the shape along each primitive vector.
    sublattice : int
        Which lattice to take if the peaks allow several, from 1, the one most like the
        potential's first; 0 is the potential's.
    """

    blur: float = 0.75
    iterations: int = 400
    attempts: int = 4
    envelope: float = 0.1
    threshold: float = 0.1
    shift_steps: int = 4
    sublattice: int = 0

    def __call__(self, problem: Problem, state: State) -> State:
        """Return a state with all sites and, for each shift of the lattice, occupancies."""
        distance = problem.cluster.potential.neighbour_distance
        phased = self._phase(problem, 1.0 / (self.blur * distance), state.start)
        waves = Waves(phased, problem.comm)
        peaks = np.array([p.peak for p in phased])
        lattice = choose_sublattice(peaks, problem.cluster.potential, self.sublattice)
        rng = problem.rng("synthesise", state.start)
        sites = synthesise(
            waves,
            peaks,
            problem.support,
            phased[0].centre,
            distance,
            rng,
            threshold=self.threshold,
            spacing=lattice.spacing if lattice.index > 1 else distance,
        )
        sites = sites[on_sublattice(sites, lattice)]
        weights = shifted_weights(lattice.cell, waves, sites, self.shift_steps)
        return replace(state, positions=sites + phased[0].centre, occupancies=weights)

    def _phase(self, problem: Problem, width: float, start: int) -> list[PhasedPatch]:
        """Phase three patches: apart in the support, then in their common envelope."""
        data = problem.data
        peaks = data.peaks()
        chosen = independent_patches(peaks, [float(c.max()) for c in data.counts])
        centre = problem.support.centre
        steps = spare(problem)
        grids = {k: trimmed(*thinned_grid(data, k, steps)) for k in chosen}
        masks = {k: support_mask(grids[k][0], problem.support, centre) for k in chosen}

        def run(
            k: int, mask: NDArray[np.bool_], wave: NDArray[np.complex64], iterations: int
        ) -> PhasedPatch:
            return phase_patch(*grids[k], peaks[k], width, mask, centre, wave, iterations)

        def first(k: int, attempt: int) -> PhasedPatch:
            rng = problem.rng(f"phase patch {k}", start + 1000 * attempt)
            turns = rng.random(grids[k][0].shape)
            wave = np.exp(2j * np.pi * turns).astype(np.complex64)
            return run(k, masks[k], wave, self.iterations)

        phased = _spread(chosen, partial(first, attempt=0), problem.comm)
        for attempt in range(1, self.attempts):
            again = _spread(stagnated(phased), partial(first, attempt=attempt), problem.comm)
            phased |= {k: p for k, p in again.items() if p.error < phased[k].error}

        waves = Waves([phased[k] for k in chosen], Communicator())

        def second(k: int) -> PhasedPatch:
            mask = envelope_mask(waves, grids[k][0], masks[k], self.envelope)
            return run(k, mask, phased[k].field, self.iterations // 2)

        phased = _spread(chosen, second, problem.comm)
        return [phased[k] for k in chosen]


def _spread(
    items: list[int], work: Callable[[int], PhasedPatch], comm: Communicator
) -> dict[int, PhasedPatch]:
    """Do some work for each item on one rank, and hand the results to all."""
    mine = {k: work(k) for n, k in enumerate(items) if n % comm.size == comm.rank}
    out: dict[int, PhasedPatch] = {}
    for part in comm.gather(mine):
        out.update(part)
    return out


def independent_patches(peaks: NDArray[np.float64], height: list[float]) -> list[int]:
    """Choose the three patches that fix positions best.

    Of the triples that aren't nearly in one plane, those that generate the finest
    reciprocal lattice, so that it is the crystal's if any triple's is; of these the one with
    the largest determinant of unit Bragg vectors; among equals the brightest.
    """
    length = np.linalg.norm(peaks, axis=1)
    triples = list(combinations(range(len(peaks)), 3))
    cells = [abs(float(np.linalg.det(peaks[list(t)]))) for t in triples]
    volumes = [c / float(np.prod(length[list(t)])) for c, t in zip(cells, triples, strict=True)]
    wide = min(_WIDE, max(volumes))
    finest = min(c for c, v in zip(cells, volumes, strict=True) if v >= wide)

    def merit(n: int) -> tuple[bool, int, float, float]:
        bright = float(np.sum(np.log1p([height[k] for k in triples[n]])))
        return volumes[n] >= wide, -round(cells[n] / finest), round(volumes[n], 3), bright

    return list(triples[max(range(len(triples)), key=merit)])


def lattice_note(data: Diffraction, potential: Potential, sublattice: int) -> str | None:
    """Return a sentence if the peaks don't fix the lattice, None if they do.

    Raises
    ------
    DataError
        If neither the potential nor the setting `sublattice` settles it.
    """
    peaks = data.peaks()
    chosen = independent_patches(peaks, [float(c.max()) for c in data.counts])
    return explain(peaks[chosen], potential, sublattice)
