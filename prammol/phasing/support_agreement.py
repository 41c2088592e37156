"""Does a support fit the diffraction? How a wrong frame of a support from elsewhere shows.

Near a Bragg peak G the amplitudes are nearly the Fourier transform of the shape at
q - G, whatever the phases. A shape that is turned or mirrored by a wrong order or sign
of axes has another one. Translations and the inversion change nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import permutations, product

import numpy as np
from numpy.typing import NDArray

from prammol.diffraction.bragg_patch import BraggPatch
from prammol.diffraction.dataset import Diffraction
from prammol.diffraction.structure_factor import StructureFactor
from prammol.diffraction.support import Support

# chosen: speed only; not varied
_POINTS = 20_000  # voxels of the support used at most
# chosen: not varied
_WORSE = 1.2  # times the disagreement of the best order of axes is worth a warning


# chosen: right shapes of the tests have 0.97 and more; one crystal
_GOOD = 0.95


def agreement(support: Support, data: Diffraction) -> float:
    """Return how well the shape explains the amplitudes around the Bragg peaks.

    Parameters
    ----------
    support : Support
    data : Diffraction

    Returns
    -------
    float
        Mean over the patches of the correlation of ``abs(q - G) sqrt(counts)`` with
        ``abs(q - G) abs(S(q - G))``, S the Fourier transform of the support: 1 is
        perfect. The factor gives the fringes more weight than the centre, which all
        shapes share; a Gaussian takes away what is finer than the voxels.
    """
    return _Comparison(data, support)(np.eye(3))


def axis_orders() -> Iterator[NDArray[np.float64]]:
    """Yield the 24 ways to name and point three axes, of which none is another's inverse.

    (3, 3) signed permutation matrices; the first is the identity.
    """
    for order in permutations(range(3)):
        for signs in product((1.0, -1.0), repeat=2):
            yield np.array([1.0, *signs])[:, None] * np.eye(3)[list(order)]


def warning(value: float, best: float, turn: NDArray[np.float64]) -> str:
    """Return a sentence if another order of axes fits distinctly better, or none well, else ''.

    Parameters
    ----------
    value : float
        Agreement of the support as it is.
    best : float
        That of the best order of axes.
    turn : (3, 3) ndarray
        That order, see :func:`best_axis_order`.
    """
    if 1.0 - value <= _WORSE * (1.0 - best):
        if value >= _GOOD:
            return ""
        return (
            f"the shape agrees with the counts around the peaks only to {value:.2f}, expected more "
            f"than {_GOOD}, in any order of axes; check the voxel size and whether it is the same "
            "crystal"
        )
    names = ", ".join(("+" if row.sum() > 0 else "-") + "xyz"[np.abs(row).argmax()] for row in turn)
    return (
        f"the support fits the counts better ({best:.4f} instead of {value:.4f}) if its x, y, z "
        f"are called {names}, or the inversion of that; check the order of axes and the orientation"
    )


def best_axis_order(support: Support, data: Diffraction) -> tuple[NDArray[np.float64], float]:
    """Return the order of Cartesian axes in which a support fits best, and its agreement.

    Returns
    -------
    turn : (3, 3) ndarray
        Signed permutation; positions x of the support fit best as ``x @ turn``.
    value : float
        See :func:`agreement`.
    """
    compare = _Comparison(data, support)
    return max(((turn, compare(turn)) for turn in axis_orders()), key=lambda pair: pair[1])


class _Comparison:
    """Amplitudes of all patches against the shape of a support in several frames."""

    def __init__(self, data: Diffraction, support: Support) -> None:
        x = support.centres()
        x = x[:: -(-len(x) // _POINTS)]
        self._x = x - x.mean(axis=0)
        # Details finer than two voxels aren't in the support.
        width = 1.0 / (2.0 * np.abs(np.linalg.det(support.voxel)) ** (1 / 3))
        self._targets = []
        peaks = data.peaks()
        for k, (patch, valid, peak) in enumerate(zip(data.patches, data.valid, peaks, strict=True)):
            around = BraggPatch(patch.origin - peak, patch.step, patch.shape)
            far = np.linalg.norm(around.q(), axis=1)
            weight = far * np.exp(-0.5 * (far / width) ** 2) * np.ravel(valid)
            target = weight * np.sqrt(np.where(valid, data.signal(k), 0.0)).ravel()
            self._targets.append((StructureFactor([around], 1e-4), weight, target))

    def __call__(self, turn: NDArray[np.float64]) -> float:
        found = []
        for factor, weight, target in self._targets:
            model = weight * np.abs(factor.forward(self._x @ turn))
            found.append(model @ target / np.linalg.norm(model) / np.linalg.norm(target))
        return float(np.mean(found))
