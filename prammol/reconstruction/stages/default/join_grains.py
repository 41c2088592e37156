"""Put grains together that the patches show beside the first: twins, and twins of twins."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from prammol.diffraction.support import Support
from prammol.likelihood.quasi_likelihood import PoissonMisfit
from prammol.phasing.fourier_synthesis import Waves
from prammol.phasing.grains import Twin, has, mirrored, twin_normals
from prammol.phasing.hio_er import bulk_amplitude
from prammol.phasing.placed_grains import Amplitude, places
from prammol.reconstruction.occupancy.candidate_sites import CandidateSites
from prammol.reconstruction.problem import Problem
from prammol.reconstruction.setting_kinds import Accuracy, Checked, Count, NonNegative, Part
from prammol.reconstruction.stages.default.phase_patches import Grains
from prammol.reconstruction.state import State
from prammol.reconstruction.subsampling import coarser
from prammol.structure.separation import TOO_CLOSE, apart

Floats = NDArray[np.float64]

_ON = 1e-3  # derived: rounding [Å]


@dataclass(frozen=True, eq=False)
class _Grain:
    """Sites of a grain where it may have atoms, how likely, its lattice and its waves.

    Attributes
    ----------
    sites : (n, 3) ndarray
        [Å].
    amplitude : (n,) ndarray
        Of its waves there, 1 inside.
    cell, origin : (3, 3) and (3,) ndarray
        Primitive vectors and a site [Å].
    size : Amplitude
        Amplitude at positions, (n, 3) [Å].
    """

    sites: Floats
    amplitude: Floats
    cell: Floats
    origin: Floats
    size: Amplitude

    @classmethod
    def within(cls, room: _Room, cell: Floats, origin: Floats, size: Amplitude) -> _Grain:
        """Return a grain whose lattice fills a room."""
        sites = room.sites(cell, origin)
        return cls(sites, size(sites), cell, origin, size)

    def side(self, normal: Floats, height: float) -> _Grain:
        """Return what is not beyond a plane along its normal."""
        here = self.sites @ normal < height + _ON
        return replace(self, sites=self.sites[here], amplitude=self.amplitude[here])


class _Room:
    """Where there may be atoms."""

    def __init__(self, support: Support, reach: float) -> None:
        self.centres = support.centres()
        self.reach = float(np.linalg.norm(support.voxel, axis=1).max()) / 2 + reach
        self._tree = cKDTree(self.centres)

    def sites(self, cell: Floats, origin: Floats) -> Floats:
        """Return the points of a lattice there, (n, 3) [Å]."""
        middle = self.centres.mean(axis=0)
        radius = float(np.linalg.norm(self.centres - middle, axis=1).max()) + self.reach
        inverse = np.linalg.inv(cell)
        most = int(radius * np.linalg.norm(inverse, axis=0).max()) + 1
        steps = np.array(list(product(range(-most, most + 1), repeat=3)))
        sites = origin + (np.rint((middle - origin) @ inverse) + steps) @ cell
        near = self._tree.query(sites, distance_upper_bound=self.reach)[0]
        return np.asarray(sites[np.isfinite(near)])


@dataclass(frozen=True)
class JoinGrains(Checked):
    """Add the twins that patches show to the first grain.

    A coherent twin shares a plane of atoms with its parent. Where each grain has atoms its own
    waves say, and so, to within some layers, which plane that is. Of these planes, and of the
    shifts of the lattice against the shape, the best are found by flips. Does nothing where no
    patch has a peak of a twin (:mod:`prammol.phasing.grains`), or where twins don't lower the
    misfit of the chosen sites.

    Attributes
    ----------
    shift_steps : int
        Shifts of the lattice against the shape along each primitive vector.
    planes : int
        How many planes are tried for each shift.
    finalists : int
        How many of all are tried with flips.
    passes : int
        How often the misfit is expanded anew for each of these.
    threshold : float
        Sites with more than this part of the amplitude inside are atoms at first.
    floor : float
        Relative error allowed to the model's amplitude.
    epsilon : float
        Accuracy of the Fourier transforms.
    """

    shift_steps: Count = 4  # chosen: as of phase_patches; see there
    planes: Count = 3  # chosen: twins of 1200 atoms; not varied
    finalists: Count = 4  # chosen: as planes; not varied
    passes: Count = 6  # chosen: as of choose_sites; see there
    threshold: Part = 0.5  # derived: the amplitude at a flat surface
    floor: NonNegative = 0.05  # chosen: as of choose_sites; see there
    epsilon: Accuracy = 1e-5  # derived: single precision

    def __call__(self, problem: Problem, state: State) -> State:
        """Return a state with the atoms of all grains."""
        grains = state.given(Grains)
        if grains is None or not grains.twins or len(state.positions) == 0:
            return state
        few = coarser(problem.calibrated(state.model.calibration))
        factor = few.factor.with_accuracy(self.epsilon)
        x = state.positions
        scale = PoissonMisfit(few.shard, factor, floor=self.floor)(x).scale
        misfit = PoissonMisfit(few.shard, factor, floor=self.floor, incoherent=scale**2 * len(x))
        room = _Room(problem.support, problem.potential.neighbour_distance)
        (first, *others), alone = _placed(problem, grains, x)
        # Sites chosen without the light of another grain are where the lattice lies in the shape.
        steps = np.zeros(1) if alone else np.arange(self.shift_steps) / self.shift_steps - 0.5
        shifts = list(np.array(list(product(steps, repeat=3))) @ grains.cell)
        starts: list[list[_Grain | None]] = [
            [_Grain.within(room, grains.cell, grains.origin, _shifted(first, shift))]
            for shift in shifts
        ]
        best = misfit(x).value
        for (twin, _), own in zip(grains.twins, others, strict=True):
            trials = [
                (misfit(_atoms(joined, self.threshold, problem)).value, shift, joined)
                for shift, known in zip(shifts, starts, strict=True)
                for joined in self._joined(room, known, twin, _shifted(own, shift))
            ]
            trials.sort(key=lambda trial: trial[0])
            found = None
            for _, shift, joined in trials[: self.finalists]:
                value, atoms = self._flipped(problem, misfit, joined)
                if value < best:
                    best, x, found = value, atoms, (shift, joined)
            if found is not None:
                shifts, starts = [found[0]], [found[1]]
            else:
                starts = [[*known, None] for known in starts]
        return replace(state, model=replace(state.model, positions=x, scale=misfit(x).scale))

    def _joined(
        self,
        room: _Room,
        known: list[_Grain | None],
        twin: Twin,
        size: Amplitude,
    ) -> Iterator[list[_Grain | None]]:
        """Yield the known grains with a twin, for the planes between it and its parent."""
        parent = known[twin.parent]
        if parent is None or not len(parent.sites):
            return
        normals = twin_normals(parent.cell)
        normal = normals[int(np.argmax([abs(n @ twin.normal) for n in normals]))]
        spacing = float(np.abs(parent.cell @ normal).max())
        layer = np.rint((parent.sites - parent.origin) @ normal / spacing).astype(int)
        first = layer.min()
        weights = [
            np.bincount(layer - first, weights=np.clip(a, 0.0, 1.0))
            for a in (parent.amplitude, size(parent.sites))
        ]
        more = weights[0] - weights[1]  # of the parent in each layer
        below = 2 * np.cumsum(more) - more.sum()  # up to a layer, less above
        ranked = np.argsort(-np.abs(below), kind="stable")[: self.planes]
        for number in ranked:
            # The layer that both share is one of the two at the change.
            sign = 1.0 if below[number] > 0 else -1.0
            plane = number if sign > 0 else number + 1
            height = float(parent.origin @ normal + (first + plane) * spacing)
            turn = 2 * height * normal
            child = _Grain.within(
                room,
                mirrored(parent.cell, normal),
                mirrored(parent.origin[None], normal)[0] + turn,
                size,
            ).side(-sign * normal, -sign * height - 2 * _ON)
            joined = [*known, child]
            joined[twin.parent] = parent.side(sign * normal, sign * height)
            yield joined

    def _flipped(
        self, problem: Problem, misfit: PoissonMisfit, grains: list[_Grain | None]
    ) -> tuple[float, Floats]:
        """Return the misfit of the best set of the sites of grains, and its atoms."""
        sites, amplitude = _sites(grains, problem)
        taken = amplitude > self.threshold
        chosen = CandidateSites(misfit, problem.potential, sites, taken).choose(taken, self.passes)
        return chosen.value, sites[chosen.taken]


def _placed(problem: Problem, grains: Grains, x: Floats) -> tuple[list[Amplitude], bool]:
    """Return the amplitudes of the grains in the whole shape, and whether they share no peak.

    Then the first one's is that of its atoms, (n, 3) [Å].
    """
    support, centre = problem.support, grains.waves.centre
    inside = support.centres()
    extent = float(np.ptp(inside, axis=0).max()) + float(np.abs(support.voxel).max())
    peaks, twins = grains.waves.peaks, [twin for twin, _ in grains.twins]
    shared = [k for k, g in enumerate(peaks) if any(has(twin.cell, g) for twin in twins)]
    whole = [k for k in shared if all(has(twin.cell, peaks[k]) for twin in twins)]
    own = [k for k in range(len(peaks)) if k not in shared] or list(range(len(peaks)))
    tree, distance = cKDTree(x - centre), problem.potential.neighbour_distance

    def near(p: Floats) -> Floats:
        """Return 1 at an atom, a half at 3/4 of a neighbour's distance."""
        return np.clip(1.25 - tree.query(p)[0] / distance, 0.0, 1.0)

    def filled(p: Floats) -> Floats:
        return support.contains(p + centre).astype(float)

    parts = [_size(grains.waves, inside, own) if shared else near]
    parts += [_size(w, inside, list(range(len(w.peaks)))) for _, w in grains.twins]
    shape = _size(grains.waves, inside, whole) if whole else filled
    found = [place(part) for place, part in zip(places(shape, parts, extent), parts, strict=True)]
    return [_shifted(amplitude, -centre) for amplitude in found], not shared


def _shifted(amplitude: Amplitude, shift: Floats) -> Amplitude:
    return lambda x: amplitude(x + shift)


def _size(waves: Waves, inside: Floats, columns: list[int]) -> Amplitude:
    """Return the mean amplitude of some waves as a function of positions from their centre."""
    bulk = bulk_amplitude(np.abs(waves(inside - waves.centre)))[columns]

    def size(x: Floats) -> Floats:
        return np.asarray((np.abs(waves(x))[:, columns] / bulk).mean(axis=1))

    return size


def _sites(grains: list[_Grain | None], problem: Problem) -> tuple[Floats, Floats]:
    """Return the sites of all grains, none too close to a likelier one, and their amplitude."""
    here = [g for g in grains if g is not None]
    sites = np.concatenate([g.sites for g in here])
    amplitude = np.concatenate([g.amplitude for g in here])
    distance = TOO_CLOSE * problem.potential.neighbour_distance
    kept = apart(sites, distance, amplitude)
    return sites[kept], amplitude[kept]


def _atoms(grains: list[_Grain | None], threshold: float, problem: Problem) -> Floats:
    sites, amplitude = _sites(grains, problem)
    return np.asarray(sites[amplitude > threshold])
