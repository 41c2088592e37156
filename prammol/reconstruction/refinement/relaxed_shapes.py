"""Shapes drawn from the posterior, each relaxed by the potential.

A walk of :class:`~prammol.reconstruction.occupancy.shape_chain.ShapeChain` at fixed positions is a
proposal; its end is relaxed, turned and strained evenly as the data want, and taken or refused by
what it costs then (a surrogate transition: Liu, Monte Carlo Strategies in Scientific Computing,
2001, chapter 9). The positions a walk starts from differ from state to state, which the test
neglects. While the object leaves more than noise unexplained, J is divided by how many times more
(a quasi-likelihood, McCullagh and Nelder, Generalized Linear Models, 1989).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from prammol.core.errors import DataError
from prammol.likelihood.quasi_likelihood import PoissonMisfit
from prammol.reconstruction.occupancy.shape_chain import ShapeChain
from prammol.reconstruction.occupancy.surface_blocks import SurfaceLattice
from prammol.reconstruction.problem import Problem
from prammol.reconstruction.refinement.even_fit import EvenFit, drawn_even, fit_even

Floats = NDArray[np.float64]

# chosen: as complete_atoms.force_tolerance; not varied
_LOOSE = 1e-2  # eV/Å
_FIRST = 4.0  # chosen: changes of the first walk; not varied
_MOST = 64.0  # chosen: not varied
_LONGER, _SHORTER = 1.5, 0.5  # chosen: not varied
_HOTTER = 10.0  # chosen: not varied
_HOP = 8  # chosen: changes of a hop; not varied
_CLEARLY = 1.0  # derived: a log-likelihood ratio that counts
_AT_ONCE = 20  # chosen: proposals between two looks at how many were accepted; not varied


@dataclass(frozen=True, eq=False)
class RelaxedShape:
    """A shape, relaxed.

    Attributes
    ----------
    relaxed : (n, 3) ndarray
        Positions at the minimum of the energy [Å].
    fit : EvenFit
        The same turned and strained.
    lost : float
        Bonds that its surface lacks, half of them, against the first shape.
    """

    relaxed: Floats
    fit: EvenFit
    lost: float


class ShapeWalk:
    """A walk from shape to shape.

    Parameters
    ----------
    problem : Problem
    x : (n, 3) ndarray
        Atoms to start from [Å].
    bond : float
        What a bond is worth as a log-likelihood.
    proposals : int
        Proposals in a walk at fixed positions, at most.
    rng : Generator
        In the same state on all ranks.

    Attributes
    ----------
    shape : RelaxedShape
        Where it is.
    temperature : float
        How many times more than noise the first shape leaves unexplained, at least 1.

    Raises
    ------
    DataError
        If no lattice fits the atoms.
    """

    def __init__(
        self, problem: Problem, x: Floats, bond: float, proposals: int, rng: np.random.Generator
    ) -> None:
        self._problem, self._bond, self._proposals, self._rng = problem, bond, proposals, rng
        self._misfit = PoissonMisfit(problem.shard, problem.factor)
        self._changes = _FIRST
        self.shape = self._relaxed(x, 0.0, None)
        self.temperature = dispersion(self._misfit, self.shape.fit.positions)
        self._lattice = self._lattice_of(self.shape)

    def cost(self, shape: RelaxedShape) -> float:
        """Return what a shape costs as a negative log-probability."""
        return shape.fit.value / self.temperature + self._bond * shape.lost

    def improve(self, relaxed: int) -> bool:
        """Take the best change of a terrace that makes a shape likelier; False if none does.

        Parameters
        ----------
        relaxed : int
            How many, the likeliest at fixed positions, are relaxed at most.
        """
        chain = ShapeChain(self._lattice, self._misfit, self._bond, self._rng, self.temperature)
        for lost, taken in chain.likely_terraces(relaxed):
            near = self.shape.fit.coefficients
            new = self._relaxed(self._lattice.atoms(taken), self.shape.lost + lost, near)
            if self.cost(new) < self.cost(self.shape) - _CLEARLY:
                self._moved_to(new)
                return True
        return False

    def mend(self, relaxed: int) -> bool:
        """Take all changes of rows that make the shape likelier; False if none does.

        Parameters
        ----------
        relaxed : int
            How many, the likeliest at fixed positions, are relaxed.
        """
        chain = ShapeChain(self._lattice, self._misfit, self._bond, self._rng, self.temperature)
        before, near = self.shape, self.shape.fit.coefficients
        for row in chain.likely_rows()[:relaxed]:
            lost = chain.changed(row)
            if lost is None:
                continue
            new = self._relaxed(self._lattice.atoms(chain.taken), self.shape.lost + lost, near)
            if self.cost(new) < self.cost(self.shape) - _CLEARLY:
                self.shape = new
            else:
                chain.changed(row)
        if self.shape is before:
            return False
        self._moved_to(self.shape)
        return True

    def _moved_to(self, shape: RelaxedShape) -> None:
        """Go to a shape; the data count as much as it lets them."""
        self.shape, self._lattice = shape, self._lattice_of(shape)
        cooler = dispersion(self._misfit, shape.fit.positions)
        self.temperature = min(self.temperature, cooler)

    def hop(self) -> None:
        """Go to a shape that is likely where the data count a tenth; relaxed, but not refused."""
        hot = _HOTTER * self.temperature
        chain = ShapeChain(self._lattice, self._misfit, self._bond, self._rng, hot)
        changes = 0
        for _ in range(self._proposals // _AT_ONCE):
            changes += chain.sample(_AT_ONCE)
            if changes >= _HOP:
                break
        near, lost = self.shape.fit.coefficients, self.shape.lost + chain.lost
        self.shape = self._relaxed(self._lattice.atoms(chain.taken), lost, near)
        self._lattice = self._lattice_of(self.shape)

    def step(self) -> bool:
        """Try another shape; return whether it was taken."""
        chain = ShapeChain(self._lattice, self._misfit, self._bond, self._rng, self.temperature)
        changes = tried = 0
        while changes < self._changes and tried < self._proposals:
            changes += chain.sample(_AT_ONCE)
            tried += _AT_ONCE
        if changes == 0:
            return False
        before, lost = self.shape, self.shape.lost + chain.lost
        new = self._relaxed(self._lattice.atoms(chain.taken), lost, before.fit.coefficients)
        # The walk has paid what it costs at fixed positions.
        paid = (chain.value - chain.first_value) / self.temperature + self._bond * chain.lost
        more = self.cost(new) - self.cost(before) - paid
        if more > -np.log(max(self._rng.random(), 1e-300)):
            self._changes = max(1.0, self._changes * _SHORTER)
            return False
        self._changes = min(_MOST, self._changes * _LONGER)
        self.shape, self._lattice = new, self._lattice_of(new)
        return True

    def drawn(self) -> Floats:
        """Return the shape's atoms, (n, 3) [Å], turned and strained by a draw of the posterior."""
        return drawn_even(self._misfit, self.shape.relaxed, self.shape.fit, self._rng)

    def _relaxed(self, x: Floats, lost: float, near: Floats | None) -> RelaxedShape:
        y, _, _ = self._problem.cluster.relax(x, force_tolerance=_LOOSE)
        return RelaxedShape(y, fit_even(self._misfit, y, near), lost)

    def _lattice_of(self, shape: RelaxedShape) -> SurfaceLattice:
        lattice = SurfaceLattice.of_atoms(shape.fit.positions, self._problem.potential.lattice)
        if lattice is None:
            msg = (
                f"{self._problem.data.source}: no single lattice fits the atoms, expected one "
                "crystal without grain boundaries for preset shape"
            )
            raise DataError(msg)
        return lattice


def dispersion(misfit: PoissonMisfit, x: Floats) -> float:
    """Return how many times more than noise alone the misfit of atoms is, at least 1."""
    omega = misfit.factor.forward(x)
    value, scale, _ = misfit.field(omega)
    over = misfit.excess(omega, scale)[1] * misfit.cost_of_one_atom(omega, scale)
    return max(1.0, value / max(value - over, 1e-300))
