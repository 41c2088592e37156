"""A density of matter that isn't the crystal, fitted beside its atoms.

The places are those of a cubic grid in a shell around the atoms. Their weights aren't negative
and are fitted by the counts together with the occupancies of the surface and of the vacant sites
beside it. Patches around a few Bragg peaks don't tell a whole atom from a density around its
place. A price for the density, a small part of what a missing atom costs, makes the atom the
better explanation where both would do, and hardly changes the density elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from prammol.diffraction.matter import Matter
from prammol.diffraction.structure_factor import squared
from prammol.likelihood.holdout_blocks import hold_out_blocks
from prammol.likelihood.quasi_likelihood import PoissonMisfit
from prammol.reconstruction.occupancy.continuous import fit_occupancies
from prammol.reconstruction.problem import Problem
from prammol.reconstruction.refinement.rotation_strain import ROTATIONS
from prammol.reconstruction.subsampling import coarser
from prammol.structure.separation import TOO_CLOSE, apart
from prammol.structure.surface import equivalent_diameter

Floats = NDArray[np.float64]

HALF = 0.5  # derived: rounding
# chosen: 156 atoms with 50 light ones; 0.01 to 0.3 alike
PRICE = 0.01  # of the density of an atom, in units of what a missing one costs
ITERATIONS = 100  # chosen: not varied
ACCURACY = 1e-6  # chosen: 800 atoms at 1e19; 1e-5 is off by 1000 standard deviations
_HELD_OUT = 0.1  # chosen: part of the blocks, as restrained_refinement.held_out; not varied
# chosen: 800 atoms with 370 light ones; 0.28 leaves 0.4 standard deviations, 0.35 leaves 300
_SPACING = 0.28  # of the grid [neighbour distances]
_NEAREST = 0.52  # chosen: to an atom [neighbour distances], bonds of oxygen are longer; not varied
_FARTHEST = 1.25  # chosen: the first shell of matter [neighbour distances]; not varied
_DARKEST = 0.01  # derived: photons, as the misfit adds
_CONJUGATE = 60  # chosen: steps, a fit of 300 iterations ends there too; not varied
_ROUNDING = 1e-20  # derived: square of double precision, with room
_TOLERANCE = 1e-9  # derived: of the misfit, far below its noise


@dataclass(frozen=True)
class Shell:
    """Sites of the crystal and the density around them.

    Attributes
    ----------
    sites : (n, 3) ndarray
        Atoms, then vacant sites [Å].
    occupancies : (n,) ndarray
        Of the sites.
    matter : Matter
    value : float
        Misfit and price.
    """

    sites: Floats
    occupancies: Floats
    matter: Matter
    value: float = float("inf")

    def taken(self, threshold: float, distance: float) -> NDArray[np.bool_]:
        """Return which sites hold an atom, (n,): of close ones the heavier."""
        keep = self.occupancies > threshold
        keep[keep] = apart(self.sites[keep], TOO_CLOSE * distance, self.occupancies[keep])
        return keep


def empty_shell(atoms: Floats, vacant: Floats, distance: float, had: Matter | None) -> Shell:
    """Return a shell around atoms, (n, 3) [Å], its density as that of another, or 0.

    Parameters
    ----------
    atoms, vacant : (n, 3) and (m, 3) ndarray
        [Å]
    distance : float
        Of nearest neighbours [Å].
    had : Matter or None
    """
    step, far = _SPACING * distance, _FARTHEST * distance
    # Multiples of the step: the places stay where they are while atoms come and go.
    first = np.floor((atoms.min(axis=0) - far) / step)
    last = np.ceil((atoms.max(axis=0) + far) / step)
    axes = [step * np.arange(a, b + 1) for a, b in zip(first, last, strict=True)]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    gap = cKDTree(atoms).query(grid, distance_upper_bound=far)[0]
    places = grid[(gap > _NEAREST * distance) & (gap < far)]
    weights = np.zeros(len(places))
    if had is not None and len(places):
        away, nearest = cKDTree(places).query(had.positions)
        same = away < 0.1 * step
        weights[nearest[same]] = had.weights[same]
    occupancies = np.r_[np.ones(len(atoms)), np.zeros(len(vacant))]
    return Shell(np.concatenate([atoms, vacant]), occupancies, Matter(places, weights))


def fitted_shell(
    problem: Problem,
    shell: Shell,
    free: NDArray[np.bool_],
    price: float,
    iterations: int,
    points: Floats | None = None,
) -> Shell:
    """Return occupancies and density that explain some points best.

    Parameters
    ----------
    problem : Problem
    shell : Shell
        Where to start.
    free : (n,) bool ndarray
        Sites whose occupancy may change.
    price : float
        Of the density, per atom, in units of what a missing atom costs.
    iterations : int
        Of L-BFGS.
    points : (m,) ndarray, optional
        Weight of each of this rank's points.
    """
    misfit = bare_misfit(problem, points)
    number = len(shell.sites)
    positions = np.concatenate([shell.sites, shell.matter.positions])
    weights = np.concatenate([shell.occupancies, shell.matter.weights])
    may = np.concatenate([free, np.ones(len(shell.matter.weights), dtype=bool)])
    omega = misfit.factor.forward(positions, weights)
    one = misfit.cost_of_one_atom(omega, misfit.scale(omega))
    costs = np.where(np.arange(len(weights)) < number, 0.0, price * one)
    weights = fit_occupancies(misfit, positions, weights, may, iterations, _TOLERANCE, costs)
    matter = Matter(shell.matter.positions, weights[number:])
    value = misfit(positions, weights).value + float(costs @ weights)
    return Shell(shell.sites, weights[:number], matter, value)


def bare_misfit(problem: Problem, points: Floats | None = None) -> PoissonMisfit:
    """Return the misfit of some points without the matter that the problem has."""
    return PoissonMisfit(replace(problem.shard, beside=None), problem.factor, points)


def confirmed_shell(
    problem: Problem, shell: Shell, free: NDArray[np.bool_], price: float, iterations: int
) -> tuple[Shell, float]:
    """Fit a shell to a part of the points and ask the others.

    Parameters
    ----------
    problem, shell, free, price, iterations
        As for :func:`fitted_shell`.

    Returns
    -------
    shell : Shell
        Of the part.
    explained : float
        Which part of what contradicts the atoms is gone on the other points. Against the atoms as
        they are, or as they would be with the occupancies rounded if that explains more.
    """
    rng, size = problem.rng("matter", 0), equivalent_diameter(shell.sites)
    points = hold_out_blocks(problem.data, problem.shard, size, _HELD_OUT, rng)
    found = fitted_shell(problem, shell, free, price, iterations, points.fitted)
    test = bare_misfit(problem, points.rest)
    rounded = found.taken(HALF, problem.potential.neighbour_distance).astype(float)
    whole = test.factor.forward(found.sites, found.occupancies)
    whole = whole + found.matter.structure_factor(test.factor)
    rivals = [test.factor.forward(shell.sites, w) for w in (shell.occupancies, rounded)]
    left, *others = (test.beyond_noise(o, test.scale(o)) for o in (whole, *rivals))
    return found, 1.0 - left / max(min(others), 1e-300)


def explained_by_matter(problem: Problem, x: Floats) -> float:
    """Return which part of what contradicts atoms, (n, 3) [Å], matter around them explains."""
    shell = empty_shell(x, np.empty((0, 3)), problem.potential.neighbour_distance, None)
    fewer = coarser(problem)
    fewer = replace(fewer, factor=fewer.factor.with_accuracy(ACCURACY))
    none = np.zeros(len(x), dtype=bool)
    return confirmed_shell(fewer, shell, none, PRICE, ITERATIONS)[1]


class Projection:
    """What the weights of some matter can't imitate, to first order.

    Changes of the expected counts are taken in units of their noise. Those that other weights of
    the places in use would make are a linear space; conjugate gradients take a change apart.

    Parameters
    ----------
    problem : Problem
    x : (n, 3) ndarray
        Atoms [Å].
    matter : Matter
        Places with a weight of 0 are held there and don't count.
    """

    def __init__(self, problem: Problem, x: Floats, matter: Matter) -> None:
        self.problem, self.x, self._comm = problem, x, problem.comm
        self._factor, misfit = problem.factor, bare_misfit(problem)
        self._places = matter.positions[matter.weights > 0]
        self._whole = problem.factor.forward(x) + matter.structure_factor(problem.factor)
        self._square = misfit.scale(self._whole) ** 2
        expected = misfit.expected(self._whole, self._square**0.5)
        self._root = np.sqrt(misfit.weight / np.maximum(expected, _DARKEST))
        self._rest = self._root * (problem.shard.counts - expected)
        self._response = problem.shard.response

    def apart(self, z: Floats) -> Floats:
        """Return the part of a change, (m,), that no weights imitate."""
        if not len(self._places):
            return z
        left, slope = z, self._adjoint(z)
        step, square = slope, float(slope @ slope)
        first = square
        for _ in range(_CONJUGATE):
            if square <= _ROUNDING * first:
                break
            image = self._forward(step)
            length = square / self._comm.sum(float(image @ image))
            left = left - length * image
            slope = self._adjoint(left)
            new = float(slope @ slope)
            step, square = slope + (new / square) * step, new
        return left

    def freedom(self, rng: np.random.Generator) -> float:
        """Return how many independent parameters the weights are.

        What a fit of them takes from white noise (Hutchinson's estimate of a trace); `rng` is in
        the same state on all ranks.
        """
        shard = self.problem.shard
        noise = rng.normal(size=sum(p.size for p in self.problem.data.patches))
        z = noise[shard.global_index] * (self._root > 0)
        left = self.apart(z)
        return self._comm.sum(float(z @ z - left @ left))

    def turn(self) -> tuple[Floats, Floats]:
        """Return the rotation of the atoms that the counts want, the weights and C free.

        Returns
        -------
        coefficients : (3,) ndarray
            Of the generators :data:`ROTATIONS`.
        covariance : (3, 3) ndarray
        """
        arms = (self.x - self.x.mean(axis=0)).T
        whole = self._whole.conj()
        moments = np.array([(whole * self._factor.forward(self.x, a)).imag for a in arms])
        q = self._factor.q
        columns = []
        for generator in ROTATIONS:
            by = sum(generator[a, b] * q[:, a] * moments[b] for a, b in np.argwhere(generator))
            columns.append(self._noted(2.0 * self._square * np.asarray(by)))
        columns.append(self._noted(self._square * squared(self._whole)))
        apart = np.array([self.apart(c) for c in columns])
        system = self._comm.allreduce(apart @ apart.T)
        right = self._comm.allreduce(apart @ self._rest)
        inverse = np.linalg.pinv(system, hermitian=True)
        return np.asarray((inverse @ right)[:3]), np.asarray(inverse[:3, :3])

    def _noted(self, change: Floats) -> Floats:
        seen = change if self._response is None else self._response.apply(change)
        return self._root * seen

    def _forward(self, v: Floats) -> Floats:
        change = (self._whole.conj() * self._factor.forward(self._places, v)).real
        return self._noted(2.0 * self._square * change)

    def _adjoint(self, z: Floats) -> Floats:
        field = self._root * z
        if self._response is not None:
            field = self._response.adjoint(field)
        found = self._factor.adjoint(2.0 * self._square * field * self._whole, self._places)
        return self._comm.allreduce(found.real.copy())
