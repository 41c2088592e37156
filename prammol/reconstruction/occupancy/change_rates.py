"""How likely sites are taken, from an earlier state: atoms leave, others come.

A site that held an atom with the probability p holds one now with p (1 - a) + (1 - p) b: a is the
part of the atoms of the surface that left, b that of the vacant sites beside it that were taken
since. Both are learnt from the counts themselves. Given a sampled set, the likeliest are the parts
that left and came in it; sampling and counting in turn raises the evidence (stochastic
expectation-maximisation: Celeux and Diebolt, Comput. Stat. Q. 2, 73 (1985)). An earlier atom that
was wrong counts as one that left, a missed one as one that came: errors aren't handed on for ever.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import logit

from prammol.reconstruction.earlier_state import EarlierState
from prammol.reconstruction.occupancy.candidate_sites import CandidateSites

_LEAST = 1e-6  # derived: keeps logarithms finite
_UNKNOWN = 0.05  # chosen: before the first sample; forgotten with it, not varied


@dataclass(frozen=True)
class ChangeRates:
    """Parts of the sites of the surface that have changed since an earlier state.

    Attributes
    ----------
    leave, come : float
        Probability that an atom of the surface left, and that a vacant site beside it was taken.
    """

    leave: float = _UNKNOWN
    come: float = _UNKNOWN

    def log_odds(self, presence: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the log-odds that sites are taken, (n,), from how likely they were, (n,)."""
        now = presence * (1.0 - self.leave) + (1.0 - presence) * self.come
        return np.asarray(logit(np.clip(now, _LEAST, 1.0 - _LEAST)))


def rates_of(
    presence: NDArray[np.float64], taken: NDArray[np.bool_], free: NDArray[np.intp]
) -> ChangeRates:
    """Return the likeliest rates of a set of sites.

    Jeffreys's prior: half an atom is added to what changed and to what didn't.

    Parameters
    ----------
    presence : (n,) ndarray
        Probability that each site held an atom.
    taken : (n,) bool ndarray
        Which do now.
    free : (m,) int ndarray
        Sites of the surface and beside it.
    """
    was, now = presence[free], taken[free]
    left, there = float(was[~now].sum()), float(was.sum())
    came, vacant = float((1.0 - was)[now].sum()), float((1.0 - was).sum())
    return ChangeRates((left + 0.5) / (there + 1.0), (came + 0.5) / (vacant + 1.0))


def with_earlier(
    sites: CandidateSites, earlier: EarlierState | None, taken: NDArray[np.bool_]
) -> CandidateSites:
    """Return sites with the prior of an earlier state, the rates those of a set of sites.

    Parameters
    ----------
    sites : CandidateSites
    earlier : EarlierState or None
        The same sites are returned if there is none.
    taken : (n,) bool ndarray
    """
    if earlier is None:
        return sites
    laid = earlier.laid_on(sites.positions[taken], sites.distance)
    presence = laid.presence(sites.positions, sites.distance)
    free = sites.without_data(taken).free
    return sites.with_odds(rates_of(presence, taken, free).log_odds(presence))
