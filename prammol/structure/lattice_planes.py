"""Layers of a crystal along planes of its lattice, whose orientation the atoms tell.

A layer holds the atoms whose lattice sites lie in one plane. It follows a crystal that is bent, and
a hole in it is a vacant site: a slab of space would cut layers of a tilted crystal and show holes
where atoms are. Around a screw dislocation a layer is a spiral staircase, of which each column of
atoms shows one.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from math import gcd

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from prammol.core.errors import InputError
from prammol.structure.crystal_fields import lattice_sites
from prammol.structure.fitted_lattice import Bonds, FittedLattice, fit_lattice, lattice_bonds
from prammol.structure.lattices import LATTICES

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.intp]
Miller = tuple[int, int, int]

CUBE: tuple[Miller, ...] = ((0, 0, 1), (1, 0, 0), (0, 1, 0))
_OVERLAP = 0.5  # chosen: display, atoms nearer to each other in a picture [neighbour distances]
_MOST_PLANES = 3  # chosen: display
_LARGEST_INDEX = 9  # chosen: display, planes of higher indices hold few atoms


@dataclass(frozen=True, eq=False)
class LatticePlanes:
    """Atoms, the lattice that fits them, and the site of each.

    Attributes
    ----------
    fitted : FittedLattice
    positions : (n, 3) ndarray
        [Å].
    sites : (n, 3) ndarray
        [edges].
    bonds : Bonds
        Between nearest neighbours.
    """

    fitted: FittedLattice
    positions: FloatArray
    sites: FloatArray
    bonds: Bonds

    @classmethod
    def of(cls, x: FloatArray) -> LatticePlanes | None:
        """Return those of atoms at x, (n, 3) [Å]; None if neither fcc nor bcc fits them."""
        for lattice in LATTICES.values():
            fitted = fit_lattice(x, lattice)
            if fitted is not None:
                bonds = lattice_bonds(x, fitted)
                return cls(fitted, x, lattice_sites(x, fitted, bonds)[0], bonds)
        return None

    def layers(self, plane: Miller, x: FloatArray | None = None) -> IntArray:
        """Return the number of the layer that each atom, or each of the places x, is in."""
        own = self._number(plane, self.sites)
        if x is None:
            return own
        nearest, step = self._steps(plane, x)
        return own[nearest] + step

    def layer(self, plane: Miller, place: FloatArray) -> Layer:
        """Return the layer at a place, (3,) [Å]; each column of atoms is in it once.

        Behind a dislocation sites are counted on both ways around it, and don't agree.
        """
        numbers, own = self.layers(plane), int(self.layers(plane, place[None])[0])
        across = self.axes(plane)[0]
        flat, height = self.positions @ across[:2].T, (self.positions - place) @ across[2]
        near = _OVERLAP * self.fitted.neighbour_distance
        held = np.flatnonzero(numbers == own)
        for i, j in cKDTree(flat[held]).query_pairs(near, output_type="ndarray"):
            a, b = held[i], held[j]
            if numbers[a] == numbers[b] == own:
                far = a if abs(height[a]) > abs(height[b]) else b
                numbers[far] += 1 if height[far] > 0 else -1
        level = self._number(plane, self.bonds.ideal) == 0
        first, second = self.bonds.first[level], self.bonds.second[level]
        while True:  # along the bonds in the plane, to atoms above which there is none
            new = np.unique(second[(numbers[first] == own) & (numbers[second] != own)])
            held = np.flatnonzero(numbers == own)
            if not len(new) or not len(held):
                break
            new = new[cKDTree(flat[held]).query(flat[new])[0] > near]
            if not len(new):
                break
            numbers[new[0]] = own
        return Layer(self, plane, numbers, own)

    def _steps(self, plane: Miller, x: FloatArray) -> tuple[IntArray, IntArray]:
        """Return the atom nearest to each place, and how many layers the place is above it."""
        nearest = cKDTree(self.positions).query(x)[1]
        step = self.fitted.nearest_sites(x - self.positions[nearest])
        return nearest, self._number(plane, step)

    def _number(self, plane: Miller, sites: FloatArray) -> IntArray:
        return np.rint(sites @ np.array(plane) / self._step(plane)).astype(np.intp)

    def spacing(self, plane: Miller) -> float:
        """Return the distance of layers [Å]."""
        return float(self._step(plane) * self.fitted.constant / np.linalg.norm(plane))

    def axes(self, plane: Miller) -> tuple[FloatArray, Miller, Miller]:
        """Return unit vectors to the right, up and towards the viewer, and the first two's indices.

        The crystal's axes are those nearest to x, y and z. Right is a direction of small indices.
        """
        right = _in_plane(plane)
        up = np.cross(plane, right)
        up //= gcd(*(int(v) for v in up))
        rows = np.array([right, up, plane], dtype=float)
        rows /= np.linalg.norm(rows, axis=1)[:, None]
        a, b = ((int(d[0]), int(d[1]), int(d[2])) for d in (right, up))
        return rows @ self.fitted.axes, a, b

    def _step(self, plane: Miller) -> float:
        """Return by how much site . plane differs between layers."""
        part = np.mod(self.fitted.lattice.basis @ np.array(plane), 1.0)
        return 0.5 if (part > 0).any() else 1.0


@dataclass(frozen=True, eq=False)
class Layer:
    """One layer of a crystal.

    Attributes
    ----------
    planes : LatticePlanes
    plane : (int, int, int)
        Miller indices.
    numbers : (n,) int ndarray
        The layer of each atom.
    own : int
        The number of this one.
    """

    planes: LatticePlanes
    plane: Miller
    numbers: IntArray
    own: int

    def holds(self, x: FloatArray) -> NDArray[np.bool_]:
        """Tell which of some places, (m, 3) [Å], are in it, as seen from the nearest atom."""
        nearest, step = self.planes._steps(self.plane, x)
        return np.asarray(self.numbers[nearest] + step == self.own)


def parse_planes(texts: Sequence[str]) -> list[Miller]:
    """Return the Miller indices of up to three planes, written as ``111``, ``1-10`` or ``1,-1,0``.

    Raises
    ------
    InputError
        If there are more, or one isn't three whole numbers up to 9, not all 0.
    """
    if not 0 < len(texts) <= _MOST_PLANES:
        msg = f"{len(texts)} planes were asked for, expected one to {_MOST_PLANES}"
        raise InputError(msg)
    return [_plane(text) for text in texts]


def _plane(text: str) -> Miller:
    parts = text.split(",") if "," in text else re.findall(r"[+-]?\d|.", text)
    try:
        h, k, m = (int(p) for p in parts)
    except ValueError:
        h = k = m = 0
    if not 0 < max(abs(h), abs(k), abs(m)) <= _LARGEST_INDEX:
        msg = f"{text!r} is no plane, expected three Miller indices such as 001, 1-10 or 1,-1,0"
        raise InputError(msg)
    common = gcd(h, k, m)
    return h // common, k // common, m // common


def _in_plane(plane: Miller) -> NDArray[np.int_]:
    """Return the direction in a plane with the smallest indices; for (001) it is [100]."""
    axis = int(np.abs(plane).argmax())
    if np.count_nonzero(plane) == 1:
        return np.eye(3, dtype=int)[(axis + 1) % 3]
    n = range(-_LARGEST_INDEX, _LARGEST_INDEX + 1)
    every = np.array(np.meshgrid(n, n, n)).reshape(3, -1).T
    every = every[(every @ np.array(plane) == 0) & every.any(axis=1)]
    length = np.sum(every**2, axis=1)
    shortest = every[length == length.min()]
    return np.asarray(max(shortest.tolist()))
