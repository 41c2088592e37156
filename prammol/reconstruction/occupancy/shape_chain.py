"""A Markov chain of shapes: blocks at the surface come and go, by counts and bonds.

The probability of a set of sites is exp(-J / T - b B), J the misfit at the best scale and B the
bonds that its surface lacks, half of them (:mod:`prammol.reconstruction.occupancy.surface_blocks`).
Proposals are blocks of all sizes and pairs of them, one filled and one emptied. A block that the
same draw wouldn't take back is refused, so that the chain has that probability (Metropolis et al.,
J. Chem. Phys. 21, 1087 (1953)). Positions are fixed meanwhile but for what missing neighbours do.
"""

from __future__ import annotations

from itertools import product

import numpy as np
from numpy.typing import NDArray

from prammol.likelihood.quasi_likelihood import PoissonMisfit
from prammol.reconstruction.occupancy.surface_blocks import Ints, SurfaceBlocks, SurfaceLattice
from prammol.reconstruction.occupancy.terraces import rows, terraces

_PAIRED = 10  # chosen: terraces of each kind that are tried in pairs; not varied
_Change = tuple[float, float, list[Ints]]  # cost J / T + b B, B, blocks


class ShapeChain:
    """A set of sites that changes.

    Parameters
    ----------
    lattice : SurfaceLattice
    misfit : PoissonMisfit
    bond : float
        What a bond is worth as a log-likelihood.
    rng : Generator
        In the same state on all ranks.
    temperature : float
        T.

    Attributes
    ----------
    value, first_value : float
        J, and that of the set it began with.
    lost : float
        B, counted from that set.
    """

    def __init__(
        self,
        lattice: SurfaceLattice,
        misfit: PoissonMisfit,
        bond: float,
        rng: np.random.Generator,
        temperature: float = 1.0,  # derived: the posterior's own
    ) -> None:
        self.lattice, self._misfit, self._bond, self._rng = lattice, misfit, bond, rng
        self._temperature = temperature
        self._blocks = SurfaceBlocks(lattice, lattice.taken)
        self.lost = 0.0
        self._omega = misfit.factor.forward(lattice.atoms(lattice.taken))
        self.value, _, _ = misfit.field(self._omega)
        self.first_value = self.value

    @property
    def taken(self) -> NDArray[np.bool_]:
        """Which sites hold an atom, (n,)."""
        return self._blocks.taken.copy()

    def sample(self, moves: int) -> int:
        """Propose so many changes; return how many were accepted."""
        return sum(self._tried() for _ in range(moves))

    def likely_terraces(self, most: int) -> list[tuple[float, NDArray[np.bool_]]]:
        """Return the best changes of one or two terraces at these positions, the likeliest first.

        Each as its B against the present set, and the sites taken then, (n,).
        """
        alone: dict[bool, list[_Change]] = {True: [], False: []}
        for block in terraces(self._blocks):
            removed = bool(self._blocks.whole[block[0]])
            if (change := self._examined(block)) is not None:
                alone[removed] = sorted([*alone[removed], change], key=_cost)[:_PAIRED]
        both = [
            pair
            for one, other in product(alone[True], alone[False])
            if (pair := self._examined(*one[2], *other[2])) is not None
        ]
        out = []
        for _, lost, blocks in sorted([*alone[True], *alone[False], *both], key=_cost)[:most]:
            taken = self.taken
            taken[np.concatenate(blocks)] ^= True
            out.append((lost, taken))
        return out

    def likely_rows(self) -> list[Ints]:
        """Return rows that may come or go, (m,) int each, the likeliest first."""
        found = [change for row in rows(self._blocks) if (change := self._examined(row))]
        return [blocks[0] for _, _, blocks in sorted(found, key=_cost)]

    def changed(self, block: Ints) -> float | None:
        """Flip a block whatever it costs; return its B, or None if atoms would hang."""
        lost = self._blocks.bonds_lost(block)
        self._blocks.flip(block)
        if self._blocks.hangs(block):
            self._blocks.flip(block)
            return None
        return lost

    def _examined(self, *flips: Ints) -> _Change | None:
        """Return what some blocks flipped together cost; None if atoms would hang."""
        lost, change, hangs = 0.0, np.zeros_like(self._omega), False
        for block in flips:
            lost += self._blocks.bonds_lost(block)
            change += self._flipped(block)
        hangs = any(self._blocks.hangs(block) for block in flips)
        for block in reversed(flips):
            self._blocks.flip(block)
        if hangs:
            return None
        value, _, _ = self._misfit.field(self._omega + change)
        return (value - self.value) / self._temperature + self._bond * lost, lost, list(flips)

    def _tried(self) -> bool:
        """Propose one change, or two at once; return whether it was accepted."""
        rng, blocks = self._rng, self._blocks
        done: list[Ints] = []
        lost, change = 0.0, np.zeros_like(self._omega)
        threshold = -np.log(max(rng.random(), 1e-300))
        filled: bool | None = None
        for _ in range(1 + int(rng.integers(2))):
            drawn = blocks.proposed(rng, filled)
            if drawn is None:
                return self._undone(done)
            block, how = drawn
            filled = not blocks.whole[block[0]]
            lost += blocks.bonds_lost(block)
            change += self._flipped(block)
            done.append(block)
            if blocks.hangs(block) or not np.array_equal(blocks.block(how), block):
                return self._undone(done)
        omega = self._omega + change
        value, _, _ = self._misfit.field(omega)
        if (value - self.value) / self._temperature + self._bond * lost > threshold:
            return self._undone(done)
        self._omega, self.value, self.lost = omega, value, self.lost + lost
        return True

    def _flipped(self, block: Ints) -> NDArray[np.complex128]:
        """Flip a block; return what that changes of Omega."""
        around = np.unique(np.append(block, self.lattice.neighbours[block].ravel()))
        around = around[around < len(self.lattice.sites)]
        before = self._near(around)
        self._blocks.flip(block)
        after = self._near(around)
        weight = np.repeat([-1.0, 1.0], [len(before), len(after)])
        return self._misfit.factor.forward(np.concatenate([before, after]), weight)

    def _near(self, around: Ints) -> NDArray[np.float64]:
        """Return where the atoms of some sites are, (m, 3) [Å]."""
        whole = self._blocks.whole
        return self.lattice.relaxed(around[whole[around]], whole)

    def _undone(self, done: list[Ints]) -> bool:
        for block in reversed(done):
            self._blocks.flip(block)
        return False


def _cost(change: _Change) -> float:
    return change[0]
