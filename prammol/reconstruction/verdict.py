"""What the counts say about a model as a whole."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from prammol.likelihood.poisson import poisson_scale
from prammol.likelihood.quasi_likelihood import PoissonMisfit
from prammol.reconstruction.model import Model
from prammol.reconstruction.problem import Problem

_HALF_AN_ATOM = 0.5  # derived: none is wrong, rounded


@dataclass(frozen=True)
class Verdict:
    """How far the counts contradict a model.

    Attributes
    ----------
    excess : float
        By how many standard deviations the misfit exceeds pure noise; infinite if not known.
    wrong : float
        The same excess in missing atoms: how many single ones would cause it; infinite if
        not known.
    explained : bool
        Whether the counts don't contradict the model, though they may not be enough to see a
        single wrong atom.
    converged : bool
        Whether nothing is left to do: the counts don't contradict the model, and would if half
        an atom were wrong.
    better : float
        By how much the best change of a single atom lowers the misfit, if that is more than noise
        does; 0 if there is none, or none was looked for.
    checked : bool
        Whether one was looked for.
    """

    excess: float = float("inf")
    wrong: float = float("inf")
    explained: bool = False
    converged: bool = False
    better: float = 0.0
    checked: bool = False

    @property
    def right(self) -> bool:
        """Whether the counts contradict neither the model as a whole nor any of its atoms."""
        return self.explained and self.better == 0

    def with_better(self, gain: float) -> Verdict:
        """Return the verdict on a model that a change of a single atom improves by so much."""
        converged = self.converged and gain == 0
        return replace(self, better=gain, converged=converged, checked=True)


def judge(
    problem: Problem,
    model: Model,
    omega: NDArray[np.complex128],
    significance: float,
    fitted: float = 0.0,
) -> tuple[Model, Verdict]:
    """Return the model with its Poisson scale (paper Eq. 6), and what the counts say about it.

    Parameters
    ----------
    problem : Problem
    model : Model
    omega : (m,) complex ndarray
        Its structure factor on this rank's points.
    significance : float
        The model explains the counts if the misfit exceeds what pure noise gives by less than
        this many standard deviations.
    fitted : float
        How many parameters the counts fitted, besides the scale and matter.
    """
    shard, valid = problem.shard, problem.shard.valid
    misfit = PoissonMisfit(shard, problem.factor)
    if shard.trust is None:
        background, seen = shard.background_at(valid), shard.seen(omega)
        scale = poisson_scale(shard.counts[valid], seen[valid], problem.comm, background)
    else:
        scale = misfit.scale(omega)
    matter = model.calibration.matter if model.calibration else None
    excess, wrong, sigma = misfit.excess(omega, scale, fitted + (matter.freedom if matter else 0.0))
    explained = excess < significance
    converged = explained and significance * sigma < _HALF_AN_ATOM
    return replace(model, scale=scale), Verdict(excess, wrong, explained, converged)
