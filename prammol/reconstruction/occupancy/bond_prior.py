"""How likely sites of the surface are taken: a prior of bonds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree


@dataclass(frozen=True)
class BondPrior:
    """Probability that a site is taken: log-odds of `strength` (neighbours - `half`).

    With a tension, log-odds of `strength` (neighbours - `half` + its derivative): a compact
    crystal of any size then is as likely as any other.

    Attributes
    ----------
    strength : float
        Worth of one bond, as a log-likelihood.
    half : float
        Number of neighbours at which a site is taken as often as not.
    tension : float
        What is taken off for the surface a compact crystal has, times n^(2/3) for n atoms.
    """

    strength: float
    half: float
    tension: float = 0.0

    def half_at(self, atoms: int) -> float:
        """Return the number of neighbours at which a site of so many is as good taken as not."""
        return float(self.half - 2.0 / 3.0 * self.tension * max(atoms, 1) ** (-1.0 / 3.0))

    def surest(self, atoms: int) -> float:
        """Return the most that an atom in a site may be worth, as a log-likelihood.

        Bonds are learnt at the surface. For a vacancy inside they are extrapolated, and would be
        surer that there is none than so many atoms can tell: one in their number (Laplace's rule
        of succession).
        """
        return float(np.log(max(atoms, 2)))

    def overcharged(self, number: NDArray[np.float64], atoms: int) -> float:
        """Return by how much vacant sites with so many neighbours cost more than the surest."""
        worth = self.strength * (number - self.half_at(atoms))
        return float(np.maximum(worth - self.surest(atoms), 0.0).sum())

    def energy(self, x: NDArray[np.float64], reach: float) -> float:
        """Return minus the logarithm of the prior of a set of atoms, up to a constant."""
        tree = cKDTree(x)
        return self.of(len(x), float(tree.count_neighbors(tree, reach) - len(x)) / 2)

    def of(self, atoms: int, bonds: float) -> float:
        """Return the same for a number of atoms and of bonds between them."""
        return float(self.strength * (self.half * atoms - bonds - self.tension * atoms ** (2 / 3)))


def fit_bonds(taken: NDArray[np.int_], empty: NDArray[np.int_]) -> BondPrior:
    """Learn from an object how bonds and occupation go together at its surface.

    Maximum pseudo-likelihood (Besag, The Statistician 24, 179 (1975)): a logistic
    regression of taken or vacant on the number of neighbours.

    Parameters
    ----------
    taken : (n,) int ndarray
        Number of neighbours of each atom of the surface.
    empty : (m,) int ndarray
        The same of each vacant site beside it.
    """
    number = np.concatenate([taken, empty]).astype(float)
    truth = np.concatenate([np.ones(len(taken)), np.zeros(len(empty))])
    design = np.column_stack([np.ones_like(number), number - 6.0])
    beta = np.array([0.0, 0.5])
    penalty = np.array([0.0, 1.0 / _WIDTH**2])
    for _ in range(50):
        p = 1.0 / (1.0 + np.exp(-np.clip(design @ beta, -30.0, 30.0)))
        slope = design.T @ (truth - p) - penalty * beta
        curve = (design * (p * (1.0 - p))[:, None]).T @ design + np.diag(penalty) + 1e-9
        step = np.linalg.solve(curve, slope)
        beta = beta + np.clip(step, -1.0, 1.0)
        if np.abs(step).max() < 1e-6:
            break
    strength = max(float(beta[1]), 0.0)
    return BondPrior(strength, 6.0 - float(beta[0]) / strength if strength > 0 else 6.0)


def scale_free_bonds(number: NDArray[np.int_], strength: float) -> BondPrior:
    """Return the prior that favours no size: a smooth surface for the atoms there are.

    Broken bonds are counted against those of a crystal of the same shape, whose number grows
    as n^(2/3).

    Parameters
    ----------
    number : (n,) int ndarray
        Number of neighbours of each atom of the object.
    strength : float
        Worth of one bond, as a log-likelihood.
    """
    n, inside = len(number), float(np.median(number))
    broken = 0.5 * float(np.sum(inside - number))
    return BondPrior(strength, 0.5 * inside, broken / max(n, 1) ** (2.0 / 3.0))


# Weak prior of the logistic regression: without it a perfect crystal has infinite bonds.
_WIDTH = 2.0  # chosen: not varied
