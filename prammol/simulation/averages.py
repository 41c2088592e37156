"""The mean scattering of a warm crystal over canonical dynamics (paper Eq. 12)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prammol.core.defaults import DYNAMICS
from prammol.core.errors import InputError
from prammol.core.parallel import Communicator
from prammol.diffraction.bragg_patch import PAPER_LATTICE_CONSTANT, BraggPatch, paper_patches
from prammol.diffraction.structure_factor import StructureFactor, squared
from prammol.potentials.lammps import Cluster
from prammol.potentials.potential import Potential, aluminium
from prammol.structure.atoms import Atoms
from prammol.structure.lattices import LATTICES, Lattice

_ACCURACY = 1e-12  # derived: far below the counting noise of any flux


@dataclass(frozen=True, eq=False)
class MeanAmplitude:
    """Means of Omega and of its square over the dynamics of a crystal.

    Attributes
    ----------
    omega : (size,) complex ndarray
        <Omega> on the patches one after the other, each in C order.
    patches : sequence of BraggPatch
    element : str
        Chemical symbol.
    meta : mapping
        What counts drawn from it will record.
    intensity : (size,) ndarray or None
        <abs(Omega)^2>, what a detector sees: coherent and diffuse scattering together. None in
        files written without it.
    """

    omega: NDArray[np.complex128]
    patches: Sequence[BraggPatch]
    element: str
    meta: Mapping[str, Any] = field(default_factory=dict)
    intensity: NDArray[np.float64] | None = None


def innermost_patches(
    atoms: Atoms,
    points: int,
    lattice_constant: float | None = None,
    structure: str | Lattice | None = None,
    peaks: Sequence[Sequence[float]] | None = None,
    half_width: float | None = None,
) -> list[BraggPatch]:
    """Return cubes around three of the innermost peaks of a crystal, its axes as in LATTICES.

    Of a compound whose peaks don't tell its elements apart also around superlattice peaks.

    Parameters
    ----------
    atoms : Atoms
        The crystal; its ``info`` may have ``lattice_constant``, ``structure`` and ``cell``. For
        aluminium without them they are those of the paper.
    points : int
        Points along each edge.
    lattice_constant : float, optional
        First edge of the cell [Å].
    structure : str or Lattice, optional
        One of LATTICES, or its name.
    peaks : (p, 3) sequence of float, optional
        Other peaks [r.l.u.].
    half_width : float, optional
        Half the edge of a cube [2 pi / edge of the cell]; the structure's own if not given.

    Raises
    ------
    InputError
        If the lattice constant or the structure isn't known.
    """
    edge = lattice_constant or atoms.info.get("lattice_constant")
    structure = structure or atoms.info.get("structure")
    if atoms.element == "Al":
        edge, structure = edge or PAPER_LATTICE_CONSTANT, structure or "fcc"
    if not isinstance(edge, float | int) or not edge > 0:
        msg = f"where are the peaks of {atoms.element}? Give --lattice-constant or --potential"
        raise InputError(msg)
    lattice = LATTICES.get(structure) if isinstance(structure, str) else structure
    cell = np.array(atoms.info.get("cell", ()), dtype=float)
    if lattice is not None and isinstance(structure, str) and cell.size == 9:
        rows = (cell / float(edge)).reshape(3, 3).tolist()
        lattice = replace(lattice, cell=tuple(map(tuple, rows)))
    if peaks is None:
        if lattice is None:
            msg = f"which peaks of {atoms.element}? Give --structure, or --peak three times"
            raise InputError(msg)
        peaks = (*lattice.peaks, *lattice.superlattice)
    lattice = lattice or LATTICES["fcc"]
    centres = np.array(peaks, dtype=float) @ (lattice.reciprocal / (2 * np.pi))
    return paper_patches(points, float(edge), centres.tolist(), half_width or lattice.half_width)


def mean_structure_factor(
    atoms: Atoms,
    temperature: float,
    seed: int,
    patches: Sequence[BraggPatch],
    potential: Potential | None = None,
    comm: Communicator | None = None,
    equilibrate: int = DYNAMICS["equilibrate"],
    steps: int = DYNAMICS["steps"],
    every: int = DYNAMICS["every"],
    timestep: float = DYNAMICS["timestep"],
    remove_rigid_motion: bool = True,
    visit: Callable[[NDArray[np.float64]], None] | None = None,
) -> MeanAmplitude:
    """Return the means over snapshots of canonical dynamics (paper Eq. 12).

    Parameters as in :func:`simulate`; `visit` is called with each snapshot's positions,
    (n, 3) [Å], from which rigid motion was removed if asked for.

    Returns
    -------
    MeanAmplitude
        ``meta`` has ``temperature``, ``snapshots``, ``equilibrate``, ``every``, ``timestep``,
        ``remove_rigid_motion`` and ``dynamics_seed``.
    """
    potential = potential or aluminium()
    if potential.element != atoms.element:
        msg = f"the crystal is {atoms.element}, the potential is for {potential.element}"
        raise InputError(msg)
    if not (np.isfinite(temperature) and temperature > 0):
        msg = f"the temperature must be a positive number of kelvin, got {temperature}"
        raise InputError(msg)
    if equilibrate < 0 or every < 1 or steps < every:
        msg = (
            f"dynamics needs equilibrate >= 0 and steps >= every >= 1, "
            f"got {equilibrate}, {steps} and {every}"
        )
        raise InputError(msg)
    reference = atoms.positions
    factor = StructureFactor(patches, _ACCURACY)
    total, square = np.zeros(factor.size, dtype=complex), np.zeros(factor.size)
    count = 0

    def add(x: NDArray[np.float64]) -> None:
        nonlocal count
        if remove_rigid_motion:
            x = superpose(x, reference)
        else:
            x = x - x.mean(axis=0) + reference.mean(axis=0)
        omega = factor.forward(x)
        total[:] += omega
        square[:] += squared(omega)
        count += 1
        if visit is not None:
            visit(x)

    cluster = Cluster(potential, comm)
    try:
        # LAMMPS takes seeds of 31 bits, above 0.
        velocity_seed = int(np.random.default_rng([seed, 1]).integers(1, 2**31 - 1))
        cluster.sample_nvt(
            reference, temperature, velocity_seed, add, equilibrate, steps, every, timestep
        )
    finally:
        cluster.close()
    meta = {
        "temperature": float(temperature),
        "equilibrate": equilibrate,
        "snapshots": count,
        "every": every,
        "timestep": timestep,
        "remove_rigid_motion": remove_rigid_motion,
        "dynamics_seed": seed,
    }
    return MeanAmplitude(np.asarray(total / count), patches, atoms.element, meta, square / count)


def superpose(x: NDArray[np.float64], reference: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return x, (n, 3), after the translation and rotation that bring it nearest to a reference.

    Kabsch, Acta Cryst. A32, 922 (1976). Never a reflection.
    """
    y, r = x - x.mean(axis=0), reference - reference.mean(axis=0)
    u, _, vt = np.linalg.svd(y.T @ r)
    flip = np.array([1.0, 1.0, np.sign(np.linalg.det(u @ vt)) or 1.0])
    return y @ ((u * flip) @ vt) + reference.mean(axis=0)
