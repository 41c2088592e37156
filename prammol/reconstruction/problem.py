"""What a reconstruction is given: everything a stage may use and none may change."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from prammol.core.errors import InputError
from prammol.core.parallel import Communicator
from prammol.diffraction.bragg_patch import BraggPatch
from prammol.diffraction.calibration import Calibration
from prammol.diffraction.dataset import Diffraction, Shard, local_shard
from prammol.diffraction.deconvolution import deconvolved
from prammol.diffraction.diffuse_scattering import DiffuseScattering, with_background
from prammol.diffraction.efficiency import smooth_part
from prammol.diffraction.response import Convolution, Extent
from prammol.diffraction.scatterers import Scatterers
from prammol.diffraction.structure_factor import StructureFactor
from prammol.diffraction.support import Support
from prammol.potentials.lammps import Cluster
from prammol.potentials.potential import Potential
from prammol.reconstruction.earlier_state import EarlierState
from prammol.structure.labels import Labels


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
    diffuse : DiffuseScattering, optional
        What is predicted of it, with which shard and factor were made, too.
    earlier : EarlierState, optional
        Another state of the crystal, from which it starts.
    """

    data: Diffraction
    shard: Shard
    factor: StructureFactor
    support: Support
    cluster: Cluster
    seed: int
    comm: Communicator
    calibration: Calibration | None = None
    diffuse: DiffuseScattering | None = None
    earlier: EarlierState | None = None

    @property
    def potential(self) -> Potential:
        """The interatomic potential."""
        return self.cluster.potential

    @property
    def expansion(self) -> float:
        """Even strain that the atoms at rest lack at the temperature of the diffuse scattering."""
        return 0.0 if self.diffuse is None else self.diffuse.expansion

    @cached_property
    def measured(self) -> Diffraction:
        """All counts, with the predicted diffuse scattering declared."""
        return self.data if self.diffuse is None else self.diffuse.declared_in(self.data)

    @cached_property
    def declared(self) -> Diffraction:
        """The same with the fitted background and blur declared, too."""
        return declared_with(self.measured, self.calibration)

    @property
    def extent(self) -> Extent:
        """Where the atoms are."""
        return extent_of(self.support, self.potential)

    @cached_property
    def sharpened(self) -> Problem:
        """The problem with counts as point detectors would have them: good for coarse questions."""
        patches = len(self.data.patches)
        data = deconvolved(self.declared, self.extent, range(patches))
        fitted = self.calibration or Calibration.nominal(patches)
        kept = Calibration.nominal(patches).with_patches_of(fitted)
        # The diffuse scattering is in the background that was taken out, and in the gain.
        made = replace(self, data=data, calibration=None, diffuse=None)._made_with(kept)
        return replace(made, shard=replace(made.shard, trust=self.shard.trust))

    def calibrated(self, calibration: Calibration | None) -> Problem:
        """Return the problem with patches where a calibration has them, its scales and background.

        That of the file for None. The counts stay as they are, and so do the peaks of the data.
        """
        if calibration is self.calibration:
            return self
        return self._made_with(calibration or Calibration.nominal(len(self.data.patches)))

    def with_diffuse(self, diffuse: DiffuseScattering | None) -> Problem:
        """Return the problem with other diffuse scattering, or none, and its calibration."""
        if diffuse is self.diffuse:
            return self
        nominal = Calibration.nominal(len(self.data.patches))
        other = replace(self, diffuse=diffuse)._made_with(self.calibration or nominal)
        return replace(other, calibration=self.calibration)

    def labelled(self, labels: Labels | None) -> Problem:
        """Return the problem with elements where labels have them; itself if there is one element.

        LAMMPS has them there, too, from now on.
        """
        scatterers = self.factor.scatterers
        if labels is None or scatterers is None:
            return self
        self.cluster.labels = labels
        if labels is scatterers.labels:
            return self
        return replace(self, factor=self.factor.labelled(labels))

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
        shard = calibrated_shard(declared, calibration, self.extent, self.comm)
        if self.diffuse is not None:
            shard = replace(shard, trust=self.diffuse.trust[shard.global_index])
        factor = self.factor.on(shard.patches, shard.amplitude)
        shard = with_matter(shard, calibration, factor)
        return replace(self, shard=shard, factor=factor, calibration=calibration)

    def rng(self, stage: str, iteration: int) -> np.random.Generator:
        """Return the random generator of a stage in an iteration.

        It depends on seed, stage and iteration only: the same on all ranks, for
        any number of ranks, and in a resumed run.
        """
        return np.random.default_rng([self.seed, crc32(stage.encode()), iteration])


def declared_with(data: Diffraction, calibration: Calibration | None) -> Diffraction:
    """Return the counts with fitted background and blur declared besides those of the file."""
    if calibration is None:
        return data
    if calibration.blur.any() and data.response is not None:
        data = replace(data, response=data.response.blurred(calibration.blur))
    return with_background(data, calibration.background)


def calibrated_shard(
    declared: Diffraction, calibration: Calibration, extent: Extent, comm: Communicator
) -> Shard:
    """Return this rank's points where a calibration has them, with its scales.

    Parameters
    ----------
    declared : Diffraction
        Counts with the fitted background and blur, see :func:`declared_with`.
    calibration : Calibration
    extent : Extent
        Of the object, which the response of the detector depends on.
    comm : Communicator
    """
    nominal = responding(local_shard(declared, comm), declared, extent)
    index = [int(nominal.patch_index[k]) for k in first_points(nominal.patches)]
    return replace(
        nominal,
        patches=[calibration.patch(p, k) for p, k in zip(nominal.patches, index, strict=True)],
        amplitude=calibration.amplitudes(nominal.amplitude, nominal.patch_index),
    )


def with_matter(shard: Shard, calibration: Calibration, factor: StructureFactor) -> Shard:
    """Return points with the matter beside the crystal that was fitted, if any."""
    if calibration.matter is None:
        return shard
    return replace(shard, beside=calibration.matter.structure_factor(factor))


def scatterers_of(data: Diffraction, potential: Potential) -> Scatterers | None:
    """Return how several elements scatter, nothing known yet of where they are.

    In a solid solution all sites have the element of the perfect crystal. None if there is one
    element.

    Raises
    ------
    InputError
        If the data say that they are of other elements.
    """
    told = data.meta.get("elements")
    if told is not None and told != ",".join(potential.elements):
        msg = (
            f"the data are of {told}, but the potential is for {','.join(potential.elements)}; "
            "expected the same elements"
        )
        raise InputError(msg)
    if not potential.others:
        return None
    constant = data.meta.get("form_factor") == "constant"
    labels = Labels.of_atoms(np.empty((0, 3)), np.empty(0, dtype=int))
    if not potential.compound:
        lattice, edge = potential.lattice, potential.lattice_constant
        cell, motif = (v @ lattice.vectors * edge for v in (lattice.primitive, lattice.motif))
        labels = Labels.everywhere(int(lattice.kind_of_site[0]), cell, motif)
    return Scatterers.of(potential.elements, data.patches, constant, labels)


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
    if data.gain:
        pairs = zip(data.gain, data.valid, strict=True)
        smooth = np.concatenate([smooth_part(g, v).ravel() for g, v in pairs])[shard.global_index]
        gain = np.ones(shard.size) if shard.amplitude is None else shard.amplitude**2
        made = made.followed_by(gain / smooth)
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
