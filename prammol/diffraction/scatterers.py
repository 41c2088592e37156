"""How strongly atoms of several elements scatter, in units of the first of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from prammol.diffraction.bragg_patch import BraggPatch
from prammol.diffraction.form_factors import form_factors
from prammol.structure.labels import Labels

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Scatterers:
    """Which element scatters how, and which is where.

    The scale C and the gain of the data are those of the first element. An atom of element A has
    the weight f_A(q) / f_1(q), or, where the data have a constant form factor, f_A(G) / f_1(G) with
    the mean length G of the scattering vectors in the middle of the patches.

    Attributes
    ----------
    elements : tuple of str
        Chemical symbols.
    mean_ratios : (k,) ndarray
        f_A(G) / f_1(G).
    constant : bool
        Whether that is the weight everywhere.
    labels : Labels
        Which element is where.
    """

    elements: tuple[str, ...]
    mean_ratios: FloatArray
    constant: bool
    labels: Labels

    @classmethod
    def of(
        cls,
        elements: Sequence[str],
        patches: Sequence[BraggPatch],
        constant: bool,
        labels: Labels,
    ) -> Scatterers:
        """Return those of some elements for data on some patches, all of them.

        Raises
        ------
        InputError
            See :func:`prammol.diffraction.form_factors.form_factors`.
        """
        return cls(tuple(elements), mean_ratios(elements, patches), constant, labels)

    def labelled(self, labels: Labels) -> Scatterers:
        """Return the same elements in other places."""
        return replace(self, labels=labels)

    def ratios(self, q: FloatArray) -> list[FloatArray]:
        """Return the weight of an atom of each element, (k,) of (m,) or (), at q, (m, 3) [1/Å]."""
        if self.constant:
            return [np.asarray(r) for r in self.mean_ratios]
        return form_factor_ratios(self.elements, np.linalg.norm(q, axis=1))


def mean_ratios(elements: Sequence[str], patches: Sequence[BraggPatch]) -> FloatArray:
    """Return f_A(G) / f_1(G), (k,), with the mean length G of the middles of some patches."""
    length = np.mean([np.linalg.norm(patch.middle) for patch in patches])
    return np.array([r.item() for r in form_factor_ratios(elements, np.array([length]))])


def form_factor_ratios(elements: Sequence[str], length: FloatArray) -> list[FloatArray]:
    """Return f_A / f_1 of each element for scattering vectors of some lengths, (m,) [1/Å]."""
    first = form_factors(elements[0], length)
    return [form_factors(element, length) / first for element in elements]
