"""What a reconstruction is given: everything a stage may use and none may change."""

from __future__ import annotations

from dataclasses import dataclass
from zlib import crc32

import numpy as np

from prammol.core.parallel import Communicator
from prammol.diffraction.dataset import Diffraction, Shard
from prammol.diffraction.structure_factor import StructureFactor
from prammol.diffraction.support import Support
from prammol.potentials.lammps import Cluster
from prammol.potentials.potential import Potential


@dataclass(frozen=True)
class Problem:
    """Everything a stage may use and none may change.

    Attributes
    ----------
    data : Diffraction
        All counts.
    shard : Shard
        This rank's points.
    factor : StructureFactor
        Transform on this rank's points.
    support : Support
        Low-resolution picture of the crystal.
    cluster : Cluster
        Energies and forces.
    seed : int
        Seed of all random choices.
    comm : Communicator
    """

    data: Diffraction
    shard: Shard
    factor: StructureFactor
    support: Support
    cluster: Cluster
    seed: int
    comm: Communicator

    @property
    def potential(self) -> Potential:
        """The interatomic potential."""
        return self.cluster.potential

    def rng(self, stage: str, iteration: int) -> np.random.Generator:
        """Return the random generator of a stage in an iteration.

        It depends on seed, stage and iteration only: the same on all ranks, for
        any number of ranks, and in a resumed run.
        """
        return np.random.default_rng([self.seed, crc32(stage.encode()), iteration])
