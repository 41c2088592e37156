"""Pictures of a reconstruction: layers, errors, convergence, fit (paper Figs. 3, 5, 6, 8).

Drawn with matplotlib's objects alone: no screen is needed and no global state is changed.
"""

from __future__ import annotations

from prammol.plotting.fit import plot_fit
from prammol.plotting.plan import plot_plan
from prammol.plotting.reconstruction import plot_reconstruction

__all__ = [
    "plot_fit",
    "plot_plan",
    "plot_reconstruction",
]
