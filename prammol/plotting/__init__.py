"""Pictures of a reconstruction: slices, errors, convergence (paper Figs. 5, 6, 8).

Drawn with matplotlib's objects alone: no screen is needed and no global state is changed.
"""

from __future__ import annotations

from prammol.plotting.reconstruction import plot_reconstruction

__all__ = [
    "plot_reconstruction",
]
