"""What a reconstruction is given: everything a stage may use and none may change."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from prammol.core.parallel import Communicator
from prammol.diffraction.bragg_patch import BraggPatch
from prammol.diffraction.calibration import Calibration
from prammol.diffraction.dataset import Diffraction, Shard, local_shard
from prammol.diffraction.response import Convolution, Extent
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
    calibration : Calibration, optional
        With which shard and factor were made; that of the file if not given.
    """

    data: Diffraction
    shard: Shard
    factor: StructureFactor
    support: Support
    cluster: Cluster
    seed: int
    comm: Communicator
    calibration: Calibration | None = None

    @property
    def potential(self) -> Potential:
        """The interatomic potential."""
        return self.cluster.potential

    @cached_property
    def declared(self) -> Diffraction:
        """All counts, with the fitted background declared besides that of the file."""
        more = self.calibration.background if self.calibration else ()
        if not more:
            return self.data
        known = self.data.background or [np.zeros(1)] * len(more)
        return replace(self.data, background=[b + m for b, m in zip(known, more, strict=True)])

    @property
    def extent(self) -> Extent:
        """Where the atoms are."""
        return extent_of(self.support, self.potential)

    def calibrated(self, calibration: Calibration | None) -> Problem:
        """Return the problem with patches where a calibration has them, its scales and background.

        That of the file for None. The counts stay as they are, and so do the peaks of the data.
        """
        if calibration is self.calibration:
            return self
        return self._made_with(calibration or Calibration.nominal(len(self.data.patches)))

    def without(self, points: Sequence[NDArray[np.bool_]]) -> Problem:
        """Return the problem with some points masked, one array with the patch's shape per patch.

        The same for all ranks.
        """
        valid = [v & ~p for v, p in zip(self.data.valid, points, strict=True)]
        fewer = replace(self, data=replace(self.data, valid=valid))
        nominal = Calibration.nominal(len(valid))
        return replace(fewer._made_with(self.calibration or nominal), calibration=self.calibration)

    def _made_with(self, calibration: Calibration) -> Problem:
        declared = replace(self, calibration=calibration).declared
        nominal = responding(local_shard(declared, self.comm), self.data, self.extent)
        index = [int(nominal.patch_index[k]) for k in first_points(nominal.patches)]
        shard = replace(
            nominal,
            patches=[calibration.patch(p, k) for p, k in zip(nominal.patches, index, strict=True)],
            amplitude=calibration.amplitudes(nominal.amplitude, nominal.patch_index),
        )
        factor = StructureFactor(
            shard.patches, self.factor.epsilon, self.factor.threads, shard.amplitude
        )
        if calibration.matter is not None:
            beside = calibration.matter.structure_factor(factor)
            shard = replace(shard, beside=beside)
        return replace(self, shard=shard, factor=factor, calibration=calibration)

    def rng(self, stage: str, iteration: int) -> np.random.Generator:
        """Return the random generator of a stage in an iteration.

        It depends on seed, stage and iteration only: the same on all ranks, for
        any number of ranks, and in a resumed run.
        """
        return np.random.default_rng([self.seed, crc32(stage.encode()), iteration])


def extent_of(support: Support, potential: Potential) -> Extent:
    """Return where the atoms are: some are found outside of a support."""
    return Extent(support.centres(), potential.neighbour_distance)


def responding(shard: Shard, data: Diffraction, extent: Extent) -> Shard:
    """Return a shard with the response of the detector, if the data have one.

    Points where it can't be computed are no longer valid.

    Parameters
    ----------
    shard : Shard
        Patches as in the file, not calibrated, or of every so many-th point.
    data : Diffraction
    extent : Extent
        Of the object, see :func:`extent_of`.

    Raises
    ------
    InputError
        If the points are too far apart to hold the intensity of the object.
    """
    if data.response is None:
        return shard
    index = [int(shard.patch_index[k]) for k in first_points(shard.patches)]
    made = Convolution(
        data.response,
        data.patches,
        shard.patches,
        index,
        extent,
        shard.counts,
        shard.valid,
        shard.comm,
    )
    valid = shard.valid & made.reached
    background = shard.background
    return replace(
        shard,
        response=made,
        valid=valid,
        counts=np.where(valid, shard.counts, 0.0),
        background=None if background is None else np.where(valid, background, 0.0),
    )


def first_points(patches: Sequence[BraggPatch]) -> NDArray[np.intp]:
    """Return the number of the first point of each of some patches, one after the other."""
    return np.cumsum([0, *(p.size for p in patches)])[:-1]
