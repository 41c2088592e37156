"""A perfect crystal without surfaces in LAMMPS."""

from __future__ import annotations

from prammol.core.errors import SimulationError
from prammol.potentials.lammps_process import run_command, select_potential, start_lammps
from prammol.potentials.potential import Potential

# chosen: LAMMPS repeats the box as far as needed; not varied
_CELLS = 2  # along each axis


class PeriodicCrystal:
    """A perfect crystal without surfaces, on this process alone; a context manager.

    Parameters
    ----------
    potential : Potential
        The interatomic potential.
    structure : str
        ``"fcc"`` or ``"bcc"``; the potential's own isn't used.

    Raises
    ------
    SimulationError
        If LAMMPS refuses the potential.
    """

    def __init__(self, potential: Potential, structure: str) -> None:
        self._lmp = start_lammps(None)
        self._edge = 4.0
        try:
            for command in (
                "units metal",
                "atom_style atomic",
                f"lattice {structure} {self._edge}",
                f"region box block {f'0 {_CELLS} ' * 3}",
                "create_box 1 box",
                "create_atoms 1 box",
                f"mass 1 {potential.mass}",
            ):
                run_command(self._lmp, command)
            select_potential(self._lmp, potential)
        except SimulationError:
            self._lmp.close()
            raise

    def __enter__(self) -> PeriodicCrystal:
        return self

    def __exit__(self, *error: object) -> None:
        self._lmp.close()

    def energy(self, edge: float) -> float:
        """Return the energy per atom [eV] with cubic cells of an edge [Å]."""
        final = " ".join(f"{axis} final 0 {_CELLS * float(edge)!r}" for axis in "xyz")
        run_command(self._lmp, f"change_box all {final} remap units box")
        run_command(self._lmp, "run 0 post no")
        return float(self._lmp.get_thermo("pe")) / float(self._lmp.get_natoms())
