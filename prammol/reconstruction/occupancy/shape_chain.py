"""A Markov chain of shapes: blocks at the surface come and go, by counts and bonds.

The probability of a set of sites is exp(-J / T - b B), J the misfit at the best scale and B the bonds
that its surface lacks, half of them (:mod:`prammol.reconstruction.occupancy.surface_blocks`).
Proposals are blocks of all sizes and pairs of them, one filled and one emptied. A block that the
same draw wouldn't take back is refused, so that the chain has that probability (Metropolis et al.,
J. Chem. Phys. 21, 1087 (1953)). Positions are fixed meanwhile but for what missing neighbours do.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from prammol.likelihood.quasi_likelihood import PoissonMisfit
from prammol.reconstruction.occupancy.surface_blocks import Ints, SurfaceBlocks, SurfaceLattice


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
            around = np.unique(np.append(block, self.lattice.neighbours[block].ravel()))
            around = around[around < len(self.lattice.sites)]
            before = self._near(around)
            blocks.flip(block)
            done.append(block)
            if blocks.hangs(block) or not np.array_equal(blocks.block(how), block):
                return self._undone(done)
            after = self._near(around)
            weight = np.repeat([-1.0, 1.0], [len(before), len(after)])
            change += self._misfit.factor.forward(np.concatenate([before, after]), weight)
        omega = self._omega + change
        value, _, _ = self._misfit.field(omega)
        if (value - self.value) / self._temperature + self._bond * lost > threshold:
            return self._undone(done)
        self._omega, self.value, self.lost = omega, value, self.lost + lost
        return True

    def _near(self, around: Ints) -> NDArray[np.float64]:
        """Return where the atoms of some sites are, (m, 3) [Å]."""
        whole = self._blocks.whole
        return self.lattice.relaxed(around[whole[around]], whole)

    def _undone(self, done: list[Ints]) -> bool:
        for block in reversed(done):
            self._blocks.flip(block)
        return False
