"""A perfect crystal without surfaces in LAMMPS."""

from __future__ import annotations

from itertools import product

import numpy as np
from numpy.typing import NDArray

from prammol.core.errors import SimulationError
from prammol.potentials.lammps_process import run_command, select_potential, start_lammps
from prammol.potentials.potential import Potential
from prammol.structure.lattices import Lattice

# chosen: LAMMPS repeats the box as far as needed; not varied
_CELLS = 2  # along each axis
# chosen: aluminium at 300 K, 0.371 %, of free particles 0.378 %; not varied
_REPEATED = 3  # the box, along each axis
# chosen: the same; not varied
_STEPS = (1000, 5000)  # of 2 fs, before the first volume and after it
_PLAUSIBLE = 0.1  # derived: metals melt at some 2 % of strain
_EVERY = 20  # derived: far below the period of the barostat
_DAMPING = (0.1, 0.5)  # derived: of Nose and Hoover's thermostat and barostat, as LAMMPS advises


class PeriodicCrystal:
    """A perfect crystal without surfaces, on this process alone; a context manager.

    Parameters
    ----------
    potential : Potential
        The interatomic potential.
    lattice : Lattice
        Its structure, the first vector along x and the second in the plane of x and y; the
        potential's own isn't used.

    Raises
    ------
    SimulationError
        If LAMMPS refuses the potential.
    """

    def __init__(self, potential: Potential, lattice: Lattice) -> None:
        self._lmp = start_lammps(None)
        self._vectors = lattice.vectors
        self._tilted = bool(np.abs(np.tril(self._vectors, -1)).max() > 0)
        box = self._box(4.0)
        region = "block " + " ".join(f"0 {float(v)!r}" for v in box.diagonal())
        if self._tilted:
            tilts = (box[1, 0], box[2, 0], box[2, 1])
            region = region.replace("block", "prism") + "".join(f" {float(v)!r}" for v in tilts)
        cells = np.array(list(product(range(_CELLS), repeat=3)))
        sites = (cells[:, None] + np.array(lattice.sites)).reshape(-1, 3) @ box / _CELLS
        masses = zip(potential.types, potential.masses, strict=True)
        try:
            for command in (
                "units metal",
                "atom_style atomic",
                f"region box {region} units box",
                f"create_box {len(potential.masses)} box",
                *(f"mass {k} {mass}" for k, mass in masses),
            ):
                run_command(self._lmp, command)
            select_potential(self._lmp, potential)
            n = len(sites)
            types = np.array(potential.types)[np.tile(lattice.kind_of_site, len(cells))].tolist()
            self._lmp.create_atoms(n, list(range(1, n + 1)), types, sites.ravel().tolist())
        except SimulationError:
            self._lmp.close()
            raise

    def __enter__(self) -> PeriodicCrystal:
        return self

    def __exit__(self, *error: object) -> None:
        self._lmp.close()

    def _box(self, edges: float | NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the vectors of the box, rows of (3, 3) [Å], with cells of a size."""
        return np.asarray(_CELLS * (self._vectors.T * np.asarray(edges, dtype=float)).T)

    def energy(self, edges: float | NDArray[np.float64]) -> float:
        """Return the energy per atom [eV], the cell's vectors multiplied by edges [Å].

        Parameters
        ----------
        edges : float or (3,) ndarray
            One for all, or one for each vector.
        """
        box = self._box(edges)
        final = " ".join(
            f"{axis} final 0 {float(v)!r}" for axis, v in zip("xyz", box.diagonal(), strict=True)
        )
        if self._tilted:
            tilts = {"xy": box[1, 0], "xz": box[2, 0], "yz": box[2, 1]}
            final += "".join(f" {name} final {float(v)!r}" for name, v in tilts.items())
        run_command(self._lmp, f"change_box all {final} remap units box")
        run_command(self._lmp, "run 0 post no")
        return float(self._lmp.get_thermo("pe")) / float(self._lmp.get_natoms())

    def expanded(self, temperature: float, seed: int = 1) -> float:
        """Return the even strain of the box at no pressure, from dynamics; the box is repeated.

        Parameters
        ----------
        temperature : float
            [K]
        seed : int
            Of the velocities.
        """
        before = float(self._lmp.get_thermo("vol"))
        times = " ".join(3 * [str(_REPEATED)])
        of_heat, of_box = _DAMPING
        for command in (
            f"replicate {times}",
            "timestep 0.002",
            f"velocity all create {temperature} {seed} mom yes dist gaussian",
            f"fix free all npt temp {temperature} {temperature} {of_heat} iso 0 0 {of_box}",
            f"run {_STEPS[0]} post no",
        ):
            run_command(self._lmp, command)
        volume = 0.0
        for _ in range(_STEPS[1] // _EVERY):
            run_command(self._lmp, f"run {_EVERY} pre no post no")
            volume += float(self._lmp.get_thermo("vol")) * _EVERY / _STEPS[1]
        return float((volume / (before * _REPEATED**3)) ** (1 / 3) - 1)


def thermal_expansion(potential: Potential, temperature: float) -> float:
    """Return the even strain of a potential's crystal from rest to a temperature [K].

    From classical dynamics of the perfect crystal at no pressure, on this process alone.

    Raises
    ------
    SimulationError
        If LAMMPS stops, or the crystal doesn't hold together.
    """
    with PeriodicCrystal(potential, potential.lattice) as crystal:
        crystal.energy(potential.lattice_constant)
        strain = crystal.expanded(temperature)
    if not abs(strain) < _PLAUSIBLE:
        msg = f"the crystal of {potential.name} doesn't hold together at {temperature:g} K"
        raise SimulationError(msg)
    return strain
