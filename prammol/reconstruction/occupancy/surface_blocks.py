"""Blocks of sites at the surface of a crystal: atoms, islands, terraces, whole layers.

Where patches are narrow the counts see no single atom, but many beside each other. A block is what
lies in one plane of the lattice within some distance of a site: atoms that nothing covers, to be
taken away, or vacant sites on top of others, to be filled.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from prammol.structure.crystal_fields import lattice_sites
from prammol.structure.fitted_lattice import FittedLattice, first_shell, fit_lattice, lattice_bonds
from prammol.structure.lattices import Lattice

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]

_ROOM = 5  # chosen: steps to neighbours, two layers more than a search has added; not varied
_BELOW = 2  # chosen: not varied
_UP = 1e-6  # derived: rounding
_TRIES = 64  # derived: more than one site in ten is at the surface
_BASE = 1 << 20  # derived: more half edges than any crystal has
# Vectors by which faces are named, in edges.
_NORMALS = [h for h in product((-1, 0, 1), repeat=3) if any(h)]  # derived: {100}, {110}, {111}


@dataclass(frozen=True, eq=False)
class SurfaceLattice:
    """The sites of a lattice that atoms are on, and those around them.

    Attributes
    ----------
    fitted : FittedLattice
        Their lattice.
    sites : (n, 3) ndarray
        [edges].
    positions : (n, 3) ndarray
        Where atoms are on them, strain included, and where others would be, but for what missing
        neighbours do, see `relaxed` [Å].
    taken : (n,) bool ndarray
        Which hold an atom.
    neighbours : (n, k) int ndarray
        The number of the neighbour of each site along each vector of the first shell; n if it
        isn't among the sites.
    vectors : (k, 3) ndarray
        These vectors [Å].
    pull : float
        By which part of the sum of vectors to its missing neighbours an atom is moved.
    above : (faces, k) bool ndarray
        Which of these vectors lead out of each face.
    layers : (faces, n) int ndarray
        Which layer along each face a site is in.
    """

    fitted: FittedLattice
    sites: Floats
    positions: Floats
    taken: NDArray[np.bool_]
    neighbours: Ints
    vectors: Floats
    pull: float
    above: NDArray[np.bool_]
    layers: Ints

    @classmethod
    def of_atoms(cls, x: Floats, lattice: Lattice, room: int = _ROOM) -> SurfaceLattice | None:
        """Return the sites of atoms, (n, 3) [Å], and those around them.

        None if no cubic lattice with one atom per primitive cell fits.

        Parameters
        ----------
        x : (n, 3) ndarray
            Atoms [Å].
        lattice : Lattice
            Kind of crystal.
        room : int
            How many steps to neighbours around them.
        """
        fitted = fit_lattice(x, lattice)
        if fitted is None:
            return None
        site, origin = lattice_sites(x, fitted, lattice_bonds(x, fitted))
        shell = np.rint(2 * first_shell(lattice)).astype(int)
        held = np.rint(2 * site).astype(int)
        held, first = np.unique(held, axis=0, return_index=True)  # two atoms may share a site
        shift = (x - origin - fitted.place(site))[first]
        every, edge = held, held
        for _ in range(room):
            edge = np.unique((edge[:, None] + shell).reshape(-1, 3), axis=0)
            edge = edge[~np.isin(_key(edge), _key(every))]
            every = np.concatenate([every, edge])
        neighbours = _numbers(every, shell)
        vectors = fitted.place(shell / 2)
        open_sum = (neighbours[: len(held)] >= len(held)) @ vectors
        pull = _pull(shift, open_sum, neighbours[: len(held)])
        moved = _continued(shift - pull * open_sum, neighbours, room)
        normals = np.array(_NORMALS)
        return cls(
            fitted=fitted,
            sites=every / 2,
            positions=origin + fitted.place(every / 2) + moved,
            taken=np.arange(len(every)) < len(held),
            neighbours=neighbours,
            vectors=vectors,
            pull=pull,
            above=normals @ shell.T > _UP,
            layers=normals @ every.T,
        )

    def relaxed(self, sites: Ints, taken: NDArray[np.bool_]) -> Floats:
        """Return where atoms are on some sites, (m, 3) [Å].

        Parameters
        ----------
        sites : (m,) int ndarray
        taken : (n + 1,) bool ndarray
            Which sites hold an atom; the last stands for those that aren't among them.
        """
        missing = ~taken[self.neighbours[sites]]
        return np.asarray(self.positions[sites] + self.pull * (missing @ self.vectors))

    def atoms(self, taken: NDArray[np.bool_]) -> Floats:
        """Return where the atoms of a set of sites, (n,) bool, are, (m, 3) [Å]."""
        return self.relaxed(np.flatnonzero(taken), np.append(taken, False))


class SurfaceBlocks:
    """Draws blocks of sites and keeps count of bonds.

    Parameters
    ----------
    lattice : SurfaceLattice
    taken : (n,) bool ndarray
        Which sites hold an atom.
    """

    def __init__(self, lattice: SurfaceLattice, taken: NDArray[np.bool_]) -> None:
        self.lattice = lattice
        # One more for what isn't among the sites.
        self._taken = np.append(taken, False)
        self._number = self._taken[lattice.neighbours].sum(axis=1)
        # Atoms with fewer neighbours don't stay where they are put.
        self._least = lattice.neighbours.shape[1] // 4
        self._up = [np.flatnonzero(row) for row in lattice.above]
        self._members = [_grouped(row) for row in lattice.layers]
        arm = lattice.positions[taken]
        self.shortest = lattice.fitted.neighbour_distance
        self.longest = max(2 * self.shortest, float(np.linalg.norm(np.ptp(arm, axis=0))))

    @property
    def whole(self) -> NDArray[np.bool_]:
        """The same with one more, False, for what isn't among the sites, (n + 1,)."""
        return self._taken

    @property
    def taken(self) -> NDArray[np.bool_]:
        """Which sites hold an atom, (n,)."""
        return self._taken[:-1]

    @property
    def number(self) -> Ints:
        """How many neighbours each site has, (n,)."""
        return self._number

    def proposed(
        self, rng: np.random.Generator, filled: bool | None = None
    ) -> tuple[Ints, tuple[int, int, float]] | None:
        """Return a block, (m,) int, and how it was drawn; None if there is none there.

        Parameters
        ----------
        rng : Generator
        filled : bool, optional
            Whether the block holds atoms; either if not given.
        """
        coordination = self.lattice.neighbours.shape[1]
        tries = rng.integers(len(self._number), size=_TRIES)
        state, number = self._taken[tries], self._number[tries]
        good = np.where(state, number < coordination, number >= self._least)
        if filled is not None:
            good &= state == filled
        if not good.any():
            return None
        site = int(tries[good.argmax()])
        face = int(rng.integers(len(self._up)))
        radius = self.shortest * (self.longest / self.shortest) ** rng.random() * 0.9
        drawn = (site, face, radius)
        block = self.block(drawn)
        return (block, drawn) if len(block) else None

    def block(self, drawn: tuple[int, int, float]) -> Ints:
        """Return the sites in the plane of a face within some distance of one, alike it, (m,)."""
        site, face, radius = drawn
        lattice, up = self.lattice, self._up[face]
        order, low, start = self._members[face]
        layer = lattice.layers[face, site] - low
        own = order[start[layer] : start[layer + 1]]
        kind = self._taken[site]
        own = own[self._taken[own] == kind]
        offset = lattice.positions[own] - lattice.positions[site]
        own = own[np.einsum("ij,ij->i", offset, offset) <= radius**2]
        number = self._taken[lattice.neighbours[own][:, up]].sum(axis=1)
        exposed = number == 0
        if not kind:
            exposed &= self._number[own] >= self._least
        own = own[exposed]
        return own if site in own else own[:0]

    def outermost(self, face: int) -> list[Ints]:
        """Return the atoms of the outermost layer along a face, and the sites on top of them."""
        row, up = self.lattice.layers[face], self._up[face]
        height = int(row[self.taken].max())
        found = []
        for layer in (height, height + 1, height + 2):
            own = np.flatnonzero(row == layer)
            own = own[self._taken[own] == (layer == height)]
            free = ~self._taken[self.lattice.neighbours[own][:, up]].any(axis=1)
            if layer > height:
                free &= self._number[own] >= self._least
            if free.any():
                found.append(own[free])
        # The layers below may be terraces on which another has begun.
        below = np.flatnonzero((row < height) & ~self.taken & (self._number >= self._least))
        for layer in np.unique(row[below])[::-1][:_BELOW]:
            own = below[row[below] == layer]
            free = ~self._taken[self.lattice.neighbours[own][:, up]].any(axis=1)
            if free.any():
                found.append(own[free])
        return found

    def bonds_lost(self, block: Ints) -> float:
        """Return how many bonds, half of them, a flip of a block takes from the surface.

        A kink costs nothing, an atom less in a plane as much as one more on top of it.
        """
        near = self.lattice.neighbours[block]
        inside = np.isin(near, block).sum() / 2
        half = self.lattice.neighbours.shape[1] / 2 * len(block)
        if self._taken[block[0]]:
            return float(self._number[block].sum() - inside - half)
        return float(half - self._number[block].sum() - inside)

    def hangs(self, block: Ints) -> bool:
        """Tell whether a block, flipped already, holds or leaves atoms with too few neighbours."""
        near = np.append(block, self.lattice.neighbours[block].ravel())
        near = near[near < len(self._number)]
        return bool((self._number[near[self._taken[near]]] < self._least).any())

    def flip(self, block: Ints) -> None:
        """Fill or empty the sites of a block."""
        change = -1 if self._taken[block[0]] else 1
        self._taken[block] = change > 0
        near = self.lattice.neighbours[block].ravel()
        near = near[near < len(self._number)]
        np.add.at(self._number, near, change)


def _key(site: Ints) -> Ints:
    """Return one number for each site, (n, 3) in half edges."""
    shifted = site + _BASE // 2
    return np.asarray((shifted[:, 0] * _BASE + shifted[:, 1]) * _BASE + shifted[:, 2])


def _numbers(every: Ints, shell: Ints) -> Ints:
    """Return the number of the neighbour of each site along each vector, (n, k)."""
    key = _key(every)
    order = np.argsort(key)
    wanted = np.stack([_key(every + v) for v in shell], axis=1)
    place = np.minimum(np.searchsorted(key[order], wanted), len(key) - 1)
    found = order[place]
    return np.asarray(np.where(key[found] == wanted, found, len(key)))


def _pull(shift: Floats, open_sum: Floats, neighbours: Ints) -> float:
    """Return the part of the sum of vectors to missing neighbours that tells displacements best.

    Against the mean of their neighbours: what is even over them isn't due to the surface.
    """
    there = neighbours < len(shift)
    number = np.maximum(there.sum(axis=1), 1)[:, None]
    index = np.where(there, neighbours, 0)

    def against_mean(values: Floats) -> Floats:
        mean = np.where(there[..., None], values[index], 0.0).sum(axis=1) / number
        return np.asarray(values - mean)

    own, along = against_mean(shift), against_mean(open_sum)
    return float((own * along).sum() / max(float((along**2).sum()), 1e-300))


def _continued(shift: Floats, neighbours: Ints, room: int) -> Floats:
    """Return displacements of all sites, those without an atom moved as their neighbours are."""
    n = len(neighbours)
    out, known = np.zeros((n + 1, 3)), np.zeros(n + 1, dtype=bool)
    out[: len(shift)], known[: len(shift)] = shift, True
    for _ in range(room + 1):
        rest = np.flatnonzero(~known[:n])
        near = neighbours[rest]
        number = known[near].sum(axis=1)
        ready = number > 0
        total = np.where(known[near][..., None], out[near], 0.0).sum(axis=1)
        out[rest[ready]] = total[ready] / number[ready, None]
        known[rest[ready]] = True
    return out[:n]


def _grouped(layer: Ints) -> tuple[Ints, int, Ints]:
    """Return sites by layer, the number of the first layer, and where each begins."""
    low = int(layer.min())
    order = np.argsort(layer, kind="stable")
    counts = np.bincount(layer - low)
    return order, low, np.concatenate([[0], np.cumsum(counts)])
