"""Reflections that weren't measured, of which the orientation tells where they are.

One or two patches determine the atoms, too: they see all three dimensions of the shape, and the
potential ties the atoms together. What they leave open is where the lattice lies against the shape
along the missing directions. A plane wave stands for each missing patch, and the shifts that
phasing leaves open anyhow are tried (:mod:`prammol.phasing.lattice_shift`). Two peaks of a known
structure fix its orientation; one doesn't, the user tells.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from prammol.core.errors import DataError
from prammol.diffraction.bragg_patch import dimensions
from prammol.diffraction.dataset import Diffraction
from prammol.phasing.indexing import BLIND, NEAR, reflections, strengths
from prammol.phasing.lattice_from_peaks import brightest_patches, independent_patches
from prammol.phasing.own_peaks import of_one_grain, with_own_peaks
from prammol.potentials.potential import Potential

Floats = NDArray[np.float64]

_WHOLE = 0.2  # derived: two lattices are one if each has the other's points, to far below a half


def oriented(data: Diffraction, potential: Potential) -> Diffraction:
    """Return the data with a reflection that completes two peaks to three dimensions.

    Where peaks and known reflections have three, with peaks of one grain
    (:mod:`prammol.phasing.own_peaks`). Itself where there is but one peak.

    Parameters
    ----------
    data : Diffraction
    potential : Potential
        Gives structure and lattice constant.

    Raises
    ------
    DataError
        If the two peaks are no reflections of the structure, or allow several orientations.
    """
    every = np.vstack([data.peaks(), data.unmeasured])
    if dimensions(every) != 2:
        return with_own_peaks(data, potential)
    pairs = combinations(range(len(every)), 2)
    pair = every[list(max(pairs, key=lambda p: float(np.linalg.norm(np.cross(*every[list(p)])))))]
    found = _third(pair, potential)
    if len(found) != 1:
        many = f"allow {len(found)} orientations of" if found else "are no reflections of"
        length = ", ".join(f"{value:.2f}" for value in np.linalg.norm(pair, axis=1))
        msg = (
            f"{data.source}: its two independent Bragg peaks at {length} 1/Å {many} "
            f"{potential.structure} {''.join(potential.elements)}; tell where a third reflection "
            "is, --known-peak QX,QY,QZ"
        )
        raise DataError(msg)
    return replace(data, unmeasured=np.vstack([data.unmeasured, found[0]]))


def phased_patches(data: Diffraction, potential: Potential) -> tuple[list[int], Floats]:
    """Return which patches are phased, from 0, and the reflections that stand for missing ones.

    Three patches, those that fix the positions best; of a compound the brightest: its superlattice
    peaks are weak, and near them the data see the tails of the others. Fewer where the peaks have
    fewer dimensions.

    Returns
    -------
    chosen : list of int
    unmeasured : (3 - len(chosen), 3) ndarray
        Bragg vectors [1/Å].
    """
    peaks, height = data.peaks(), [float(c.max()) for c in data.counts]
    if dimensions(peaks) == 3:
        if potential.compound:
            return brightest_patches(peaks, height), np.empty((0, 3))
        triples = [list(t) for t in combinations(range(len(peaks)), 3)]
        grain = [t for t in triples if of_one_grain(peaks[t], potential)]
        return independent_patches(peaks, height, grain), np.empty((0, 3))
    chosen: list[int] = []
    for k in np.argsort(height)[::-1].tolist():
        if dimensions(peaks[[*chosen, k]]) > len(chosen):
            chosen.append(k)
    kept = peaks[chosen]
    for known in data.unmeasured:
        if dimensions(np.vstack([kept, known])) > len(kept):
            kept = np.vstack([kept, known])
    return sorted(chosen), kept[len(chosen) :]


def _third(pair: Floats, potential: Potential) -> list[Floats]:
    """Return the reflections that complete two peaks, one for each orientation that is possible."""
    unit = potential.lattice.reciprocal / potential.lattice_constant
    length = np.linalg.norm(pair, axis=1)
    known = reflections(unit, float(length.max()) * (1 + NEAR))
    vectors = known[strengths(known, potential) > BLIND] @ unit
    size = np.linalg.norm(vectors, axis=1)
    first, second = (vectors[np.abs(size / own - 1) < NEAR] for own in length)
    cosine = float(pair[0] @ pair[1] / np.prod(length))
    found: list[Floats] = []
    for a in first:
        angle = second @ a / (np.linalg.norm(second, axis=1) * np.linalg.norm(a))
        for b in second[np.abs(angle - cosine) < NEAR]:
            frame = np.array([a, b, np.cross(a, b)])
            room = np.abs(vectors @ frame[2])
            lowest = room[room > 1e-6 * room.max()].min()
            c = vectors[np.isclose(room, lowest)]
            c = c[np.linalg.norm(c, axis=1).argmin()]
            # As the strained crystal has it: the cross product grows with the square of its peaks.
            stretch = np.sqrt(np.prod(length) / (np.linalg.norm(a) * np.linalg.norm(b)))
            laid = np.array([*pair, np.cross(*pair) / stretch])
            third = c @ np.linalg.inv(frame) @ laid
            if not any(_same(pair, third, other) for other in found):
                found.append(third)
    return found


def _same(pair: Floats, one: Floats, other: Floats) -> bool:
    """Tell whether two reflections generate one lattice together with a pair."""
    cells = np.vstack([pair, one]), np.vstack([pair, other])
    for a, b in (cells, cells[::-1]):
        steps = b @ np.linalg.inv(a)
        if np.abs(steps - np.rint(steps)).max() > _WHOLE:
            return False
    return True
