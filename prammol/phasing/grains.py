"""Grains beside the first one: twins of which a patch holds reflections.

A twin of an fcc grain is its mirror image in a {111} plane. Its orientation is known, so it is
known where its reflections are. Those that it doesn't share with the grains found before must
outshine what these scatter there: a crystal's intensity is nearly the same on both sides of a
Bragg vector (Friedel's law, but for strain), and a peak that has no partner is another grain's.
Twins of twins follow, as in decahedra.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from prammol.diffraction.dataset import Diffraction

Floats = NDArray[np.float64]

_SAME = 0.1  # derived: far less than the distance of peaks of two grains [shortest Bragg vectors]
_NEXT = 2  # derived: points, strain and the step of a grid move a peak less
_AROUND = 4  # derived: points, a fringe more: of a streak another point is brighter
# chosen: twins of 1200 atoms, 30 times at least, and where there is none 0.4 times; not varied
_BRIGHTER = 5.0  # times the opposite point
_LEAST = 25.0  # derived: photons, five standard deviations
_PART = 5e-3  # chosen: of the brightest; twins of 1200 atoms, 3e-3 where there is none; not varied
_MORE = 1.2  # chosen: of the photons, a twin of a fifth of the atoms; not varied
_WHOLE = 0.2  # derived: two lattices are one if each has the other's points, to far below a half
_MOST = 20  # derived: grains of an icosahedron
_INDICES = 4  # derived: reflections of primitive vectors beyond are longer than a patch is far


@dataclass(frozen=True, eq=False)
class Twin:
    """A grain that is the mirror image of another.

    Attributes
    ----------
    parent : int
        Number of the other; 0 is the first grain.
    normal : (3,) ndarray
        Unit normal of the plane of the mirror.
    cell : (3, 3) ndarray
        Rows are primitive vectors [Å].
    peaks : dict of int to (3,) ndarray
        Where patches, from 0, show it: its brightest own reflection in each [1/Å].
    """

    parent: int
    normal: Floats
    cell: Floats
    peaks: dict[int, Floats]


def mirrored(vectors: Floats, normal: Floats) -> Floats:
    """Return mirror images of vectors, (n, 3), in a plane through 0 with a unit normal."""
    return np.asarray(vectors - 2 * (vectors @ normal)[:, None] * normal, dtype=float)


def twin_normals(cell: Floats) -> list[Floats]:
    """Return the unit normals of the four {111} planes of an fcc lattice.

    Parameters
    ----------
    cell : (3, 3) ndarray
        Rows are primitive vectors [Å].
    """
    found: list[Floats] = []
    vectors = _reflections(cell, 1)
    length = np.linalg.norm(vectors, axis=1)
    for g in vectors[np.argsort(length, kind="stable")[:8]]:
        n = g / np.linalg.norm(g)
        if not any(abs(n @ other) > 1 - _SAME for other in found):
            found.append(n)
    return found


def has(cell: Floats, vector: Floats) -> bool:
    """Tell whether a lattice, primitive vectors as rows [Å], has a reflection [1/Å]."""
    indices = cell @ vector / (2 * np.pi)
    return bool(np.abs(indices - np.rint(indices)).max() < _SAME)


def visible_twins(data: Diffraction, cell: Floats) -> list[Twin]:
    """Return the twins, and their twins, that patches show, each after its parent.

    Parameters
    ----------
    data : Diffraction
    cell : (3, 3) ndarray
        Primitive vectors of the first grain [Å].
    """
    cells, twins = [cell], list[Twin]()
    number = 0
    while number < len(cells) <= _MOST:
        for normal in twin_normals(cells[number]):
            other = mirrored(cells[number], normal)
            if any(_same(other, known) for known in cells):
                continue
            seen = _seen(data, other, cells)
            if seen:
                cells.append(other)
                twins.append(Twin(number, normal, other, seen))
        number += 1
    return twins


def unseen_twins(data: Diffraction, cell: Floats) -> list[tuple[Floats, Floats]]:
    """Return twins that only shared reflections show: their patches see more atoms than others.

    Parameters
    ----------
    data : Diffraction
    cell : (3, 3) ndarray
        Primitive vectors of the visible grain [Å].

    Returns
    -------
    list of (normal, peaks)
        Unit normal of the plane of each twin, and three of its reflections that would show it,
        (3, 3) [1/Å].
    """
    light = np.empty(len(data.patches))
    for k in range(len(light)):
        patch, signal, valid = data.gridded(k)
        light[k] = float(signal[valid].sum()) * abs(float(np.linalg.det(patch.step)))
    peaks, found = data.peaks(), []
    for normal in twin_normals(cell):
        twin = mirrored(cell, normal)
        shared = np.array([has(twin, g) for g in peaks])
        visible = any(True for _ in own_reflections(data, twin, [cell]))
        if visible or not shared.any() or shared.all():
            continue
        if light[shared].min() > _MORE * light[~shared].max():
            vectors = _reflections(twin, 1)
            own = [g for g in vectors if not has(cell, g)]
            shortest = min(float(np.linalg.norm(g)) for g in own)
            near = [g for g in own if np.linalg.norm(g) < (1 + _SAME) * shortest]
            # Each comes with its opposite.
            half = [g for n, g in enumerate(near) if not any(_opposite(g, h) for h in near[:n])]
            found.append((normal, np.array(half[:3])))
    return found


def _opposite(one: Floats, other: Floats) -> bool:
    return bool(np.linalg.norm(one + other) < _SAME * np.linalg.norm(one))


def own_reflections(
    data: Diffraction, cell: Floats, others: list[Floats]
) -> Iterator[tuple[int, Floats, Floats]]:
    """Yield the reflections in the patches that no other grain has.

    Parameters
    ----------
    data : Diffraction
    cell : (3, 3) ndarray
        Primitive vectors of the grain [Å].
    others : list of (3, 3) ndarray
        Those of the others.

    Yields
    ------
    patch : int
        From 0.
    vector : (3,) ndarray
        [1/Å].
    nearest : (3,) ndarray
        The nearest reflection of the others [1/Å].
    """
    vectors = _reflections(cell, _INDICES)
    known = np.concatenate([_reflections(other, _INDICES) for other in others])
    apart = _SAME * float(np.linalg.norm(vectors, axis=1).min())
    for k, patch in enumerate(data.patches):
        grid = patch.affine
        index = (vectors - grid.origin) @ np.linalg.inv(grid.step)
        inside = ((index > 1) & (index < np.array(grid.shape) - 2)).all(axis=1)
        for q in vectors[inside]:
            away = np.linalg.norm(known - q, axis=1)
            if away.min() > apart:
                yield k, q, known[away.argmin()]


def _seen(data: Diffraction, cell: Floats, others: list[Floats]) -> dict[int, Floats]:
    """Return the brightest own reflection of a grain in each patch; none if one is dark."""
    best: dict[int, tuple[float, Floats]] = {}
    pairs = zip(data.counts, data.valid, strict=True)
    top = [float(counts.max(initial=0.0, where=valid)) for counts, valid in pairs]
    for k, q, nearest in own_reflections(data, cell, others):
        light, opposite = _light(data, k, q), _light(data, k, 2 * nearest - q)
        least = max(_LEAST, _PART * top[k], _BRIGHTER * opposite)
        if light <= least or light < _light(data, k, q, _AROUND):
            return {}
        if k not in best or light > best[k][0]:
            best[k] = light, q
    return {k: q for k, (_, q) in best.items()}


def _light(data: Diffraction, k: int, q: Floats, reach: int = _NEXT) -> float:
    """Return the most photons of a point near a scattering vector, 0 outside the patch."""
    grid = data.patches[k].affine
    middle = np.rint((q - grid.origin) @ np.linalg.inv(grid.step)).astype(int)
    part = tuple(slice(max(m - reach, 0), max(m + reach + 1, 0)) for m in middle)
    signal = data.counts[k][part]
    if data.background:
        signal = signal - data.background[k][part]
    return float(signal.max(initial=0.0, where=data.valid[k][part]))


def _reflections(cell: Floats, most: int) -> Floats:
    indices = np.array([v for v in product(range(-most, most + 1), repeat=3) if any(v)])
    return np.asarray(indices @ (2 * np.pi * np.linalg.inv(cell).T), dtype=float)


def _same(one: Floats, other: Floats) -> bool:
    steps = one @ np.linalg.inv(other)
    return bool(np.abs(steps - np.rint(steps)).max() < _WHOLE)
