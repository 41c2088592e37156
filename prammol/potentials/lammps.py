"""Free clusters of atoms in LAMMPS: energies, forces, relaxation, molecular dynamics.

Metal units: Å, eV, ps, K. All ranks of the communicator call every method together and all
get the same bits back.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from itertools import combinations_with_replacement

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from prammol.core.errors import SimulationError
from prammol.core.parallel import Communicator
from prammol.potentials.adatoms import relax_adatoms
from prammol.potentials.lammps_process import run_command, select_potential, start_lammps
from prammol.potentials.potential import Potential
from prammol.structure.labels import Labels

_double_pointer = ctypes.POINTER(ctypes.c_double)
# chosen: 4649 atoms, speed only; with 2 Å a relaxation takes 3.0 instead of 2.3 s
_SKIN = 0.8  # of the neighbour lists [Å]; with 2 a step takes a fifth longer
# derived: a hundred steps of 1 fs, LAMMPS's advice
_DAMPING = 0.1  # time of the Nose-Hoover thermostat [ps]
_MARGIN = 15.0  # derived: beyond the cutoff of usual potentials [Å]
# A minimiser that ends early because rounding stops its line search has smaller forces; one
# that is stuck on a potential with a step in it has not [eV/Å].
_AT_REST = 1e-3  # chosen: not varied
# derived: physics, no potential describes atoms so close
_OVERLAP = 0.5  # Å


class Cluster:
    """A free cluster in LAMMPS.

    The object holds one LAMMPS instance. Its number of atoms follows the
    positions it is given, the instance is rebuilt only when that number or the
    extent of the cluster changes.

    Parameters
    ----------
    potential : Potential
        The interatomic potential.
    comm : Communicator, optional
        LAMMPS runs on all its ranks. A single process if not given.

    Attributes
    ----------
    labels : Labels or None
        Which element is where, in an order as that of the potential. The first everywhere if None.

    Raises
    ------
    SimulationError
        From every method, if LAMMPS stops, loses atoms or returns numbers that
        aren't finite.
    """

    def __init__(self, potential: Potential, comm: Communicator | None = None) -> None:
        self.potential = potential
        self.comm = comm or Communicator()
        self._lmp = start_lammps(self.comm.mpi)
        self.labels: Labels | None = None
        self._count = -1
        self._cutoff: float | None = None
        self._last = np.zeros((0, 3))
        self._kinds = np.zeros(0, dtype=int)
        self._low = np.zeros(3)
        self._high = np.zeros(3)

    def close(self) -> None:
        """Free LAMMPS."""
        if self._lmp is not None:
            self._lmp.close()
            self._lmp = None

    def forget(self) -> None:
        """Make the next call start as if the object were new.

        Neighbour lists and the order of the atoms depend on what was computed before, and
        the last bits of a sum on them.
        """
        self._count = -1
        self._cutoff = None

    def kinds_of(self, x: NDArray[np.float64]) -> NDArray[np.int_]:
        """Return the element of atoms at x, (n, 3) [Å], a number from 0, (n,)."""
        return np.zeros(len(x), dtype=int) if self.labels is None else self.labels.kinds_of(x)

    def energy_forces(self, x: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        """Return the potential energy [eV] and the forces, (n, 3) [eV/Å].

        Parameters
        ----------
        x : (n, 3) ndarray
            Positions [Å].
        """
        if len(x) == 0:
            return 0.0, np.zeros((0, 3))
        self._place(x)
        forces = self._gather("f", 3)
        return self._energy(), forces

    def atom_energies(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the potential energy of each atom, (n,) [eV]."""
        return self.atom_energies_forces(x)[0]

    def atom_energies_forces(
        self, x: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the potential energy of each atom, (n,) [eV], and the forces, (n, 3) [eV/Å]."""
        if len(x) == 0:
            return np.zeros(0), np.zeros((0, 3))
        self._place(x, atom_energies=True)
        local = self._lmp.numpy.extract_compute("peatom", 1, 1)
        tags = self._lmp.numpy.extract_atom("id")
        nlocal = self._lmp.extract_global("nlocal")
        out = np.zeros(len(x))
        out[tags[:nlocal] - 1] = local[:nlocal]
        return self.comm.allreduce(out), self._gather("f", 3)

    # -- relaxation ---------------------------------------------------------

    def relax(
        self,
        x: NDArray[np.float64],
        free: NDArray[np.bool_] | None = None,
        force_tolerance: float = 1e-8,  # derived: far below what diffraction tells
        max_iterations: int = 5000,  # chosen: not varied
    ) -> tuple[NDArray[np.float64], float, bool]:
        """Minimise the energy.

        Parameters
        ----------
        x : (n, 3) ndarray
            Positions [Å].
        free : (n,) bool ndarray, optional
            Atoms that may move; all if not given.
        force_tolerance : float
            Stop when the norm of the force vector is below this [eV/Å].
        max_iterations : int
            Iterations of the conjugate-gradient minimiser.

        Returns
        -------
        positions : (n, 3) ndarray
            Relaxed positions [Å].
        energy : float
            Energy at the end [eV].
        converged : bool
            False if the iterations ran out, or it stopped where forces are left.
        """
        if len(x) == 0:
            return x.copy(), 0.0, True
        fixed = np.zeros(len(x), dtype=bool) if free is None else ~np.asarray(free)
        self._place(x, force_rebuild=True)
        if fixed.all():
            return x.copy(), self._energy(), True
        if fixed.any():
            self._select("held", np.flatnonzero(fixed) + 1)
            self._command("fix hold held setforce 0 0 0")
        self._command(f"minimize 0 {force_tolerance:g} {max_iterations} {10 * max_iterations}")
        out = self._gather("x", 3)
        # The fix has made those of held atoms 0.
        force = float(np.linalg.norm(self._gather("f", 3)))
        steps = int(self._lmp.get_thermo("step"))
        self._count = -1  # the fix and the boxes' bounds belong to this run only
        if fixed.any():
            out[fixed] = x[fixed]
        at_rest = force <= max(force_tolerance, _AT_REST)
        return out, self._energy(), steps < max_iterations and at_rest

    def relax_adatoms(
        self,
        host: NDArray[np.float64],
        adatoms: NDArray[np.float64],
        force_tolerance: float = 1e-3,  # chosen: not varied
        max_iterations: int = 200,  # chosen: not varied
        margin: float = 1.5,  # chosen: not varied
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Minimise each adatom atom as if it were alone in the fixed host.

        Adatoms share a force evaluation only when they can't feel each other: at
        least twice the cutoff plus twice the margin apart. One that travels
        farther than the margin goes on in another group.

        Parameters
        ----------
        host : (n, 3) ndarray
            Atoms that don't move [Å].
        adatoms : (m, 3) ndarray
            Start of each adatom [Å].
        force_tolerance : float
            A adatom is done when the norm of its force is below this [eV/Å].
        max_iterations : int
            Most steps of one adatom.
        margin : float
            Farthest way of an adatom before the adatoms are grouped again [Å].

        Returns
        -------
        positions : (m, 3) ndarray
            Adatoms at rest, or where they were when their steps ran out [Å].
        energies : (m,) ndarray
            Energy of the host with this one adatom less that of the host [eV].
        """
        return relax_adatoms(self, host, adatoms, force_tolerance, max_iterations, margin)

    def free_tetrahedron_energy(self) -> float:
        """Return the energy per atom of a relaxed tetrahedron of 4 atoms in vacuum [eV].

        Half of it is the paper's cut-off for atoms to relax.
        """
        corners = np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]], dtype=float)
        edge = self.potential.neighbour_distance
        _, energy, _ = self.relax(corners * edge / 8**0.5)
        return energy / 4

    def cutoff(self) -> float:
        """Return the distance beyond which two atoms don't feel each other [Å].

        LAMMPS doesn't tell the cutoff of a potential, so it is measured on a pair
        of atoms, to 0.1 Å and forces of 1e-9 eV/Å. Of several elements it is that of the pair
        that feels each other farthest.
        """
        if self._cutoff is None:
            labels, every = self.labels, range(len(self.potential.elements))
            pairs = map(np.array, combinations_with_replacement(every, 2))
            self._cutoff = max(self._cutoff_of(pair) for pair in pairs)
            self.labels = labels
        return self._cutoff

    def _cutoff_of(self, kinds: NDArray[np.int_]) -> float:
        """Return the distance beyond which two atoms of some elements don't feel each other [Å]."""
        distance = _MARGIN
        while distance > 1:
            x = np.array([[0.0, 0.0, 0.0], [distance, 0.0, 0.0]])
            self.labels = Labels.of_atoms(x, kinds) if kinds.any() else None
            if np.abs(self.energy_forces(x)[1]).max() > 1e-9:
                break
            distance -= 0.1
        return distance + 0.1

    def sample_nvt(
        self,
        x: NDArray[np.float64],
        temperature: float,
        seed: int,
        visit: Callable[[NDArray[np.float64]], None],
        equilibrate: int = 10_000,  # derived: the paper's 10 ps
        steps: int = 100_000,  # derived: the paper's 100 ps
        every: int = 100,  # derived: the paper's 1000 snapshots
        timestep: float = 1.0,  # derived: the paper's 1 fs; 2 fs agrees
    ) -> None:
        """Run canonical dynamics and hand out snapshots (paper Eq. 12).

        Parameters
        ----------
        x : (n, 3) ndarray
            Start [Å].
        temperature : float
            Temperature [K].
        seed : int
            Seed of the initial velocities.
        visit : callable
            Called with each snapshot, (n, 3) [Å].
        equilibrate, steps, every : int
            Steps before the first snapshot, steps after that, steps between two.
        timestep : float
            Time step [fs].
        """
        self._place(x, force_rebuild=True)
        for command in (
            f"timestep {timestep / 1000}",  # LAMMPS counts in ps
            f"velocity all create {temperature} {seed} mom yes rot yes dist gaussian",
            f"fix nvt all nvt temp {temperature} {temperature} {_DAMPING}",
            f"run {equilibrate} post no",
        ):
            self._command(command)
        for _ in range(steps // every):
            self._command(f"run {every} pre no post no")
            visit(self._gather("x", 3))
        self._count = -1

    # -- LAMMPS -------------------------------------------------------------

    def _place(
        self,
        x: NDArray[np.float64],
        force_rebuild: bool = False,
        atom_energies: bool = False,
    ) -> None:
        """Put the atoms at x and compute their forces."""
        before = self._last
        if not np.isfinite(x).all():
            msg = "positions handed to LAMMPS aren't finite"
            raise SimulationError(msg)
        self._last = np.array(x, dtype=float)
        if force_rebuild or not self._reachable(x, before):
            self._build(x)
            self._command("run 0 post no")
        else:
            x = np.ascontiguousarray(x, dtype=float)
            self._lmp.scatter_atoms("x", 1, 3, x.ctypes.data_as(_double_pointer))
            # One step without an integrator: forces at x; the neighbour list is renewed
            # only when an atom moved by half the skin since it was made. Only a full
            # set-up leaves the energies of the atoms.
            self._command("run 0 post no" if atom_energies else "run 1 pre no post no")

    def _reachable(self, x: NDArray[np.float64], before: NDArray[np.float64]) -> bool:
        """Tell whether the atoms can be moved to x without building them anew."""
        if len(x) != self._count:
            return False
        if self.labels is not None and not np.array_equal(self.kinds_of(x), self._kinds):
            return False
        if (x.min(axis=0) < self._low + 2).any() or (x.max(axis=0) > self._high - 2).any():
            return False
        # LAMMPS hands an atom only to the rank next door; one that jumps farther is lost.
        return self.comm.size == 1 or float(np.abs(x - before).max()) < _SKIN

    def _build(self, x: NDArray[np.float64]) -> None:
        self._count = -1  # until all is well
        low = np.floor(x.min(axis=0) - _MARGIN)
        high = np.ceil(x.max(axis=0) + _MARGIN)
        box = " ".join(f"{a:.1f} {b:.1f}" for a, b in zip(low, high, strict=True))
        masses = zip(self.potential.types, self.potential.masses, strict=True)
        for command in (
            "clear",
            "units metal",
            "atom_style atomic",
            "atom_modify map array sort 0 0",
            "boundary f f f",
            f"region box block {box} units box",
            f"create_box {len(self.potential.masses)} box",
            *(f"mass {k} {mass}" for k, mass in masses),
        ):
            self._command(command)
        select_potential(self._lmp, self.potential)
        for command in (
            f"neighbor {_SKIN} bin",
            "neigh_modify delay 0 every 1 check yes",
            "thermo_modify lost error norm no",
            "compute peatom all pe/atom",
            "min_style cg",
        ):
            self._command(command)
        n = len(x)
        self._kinds = self.kinds_of(x)
        types = np.array(self.potential.types)[self._kinds].tolist()
        made = self._lmp.create_atoms(
            n, list(range(1, n + 1)), types, np.ascontiguousarray(x).ravel().tolist()
        )
        if made is not None and int(self._lmp.get_natoms()) != n:
            msg = f"LAMMPS took {self._lmp.get_natoms():.0f} of {n} atoms"
            raise SimulationError(msg)
        self._count, self._low, self._high = n, low, high

    def _select(self, name: str, ids: NDArray[np.int_]) -> None:
        """Make a LAMMPS group of atoms, in commands of bounded length."""
        for part in np.array_split(ids, max(1, len(ids) // 1000)):
            if len(part):
                self._command(f"group {name} id " + " ".join(map(str, part)))

    def _energy(self) -> float:
        energy = float(self.comm.bcast(self._lmp.get_thermo("pe")))
        if not np.isfinite(energy):
            msg = f"LAMMPS returned an energy that isn't finite{self._suspicion()}"
            raise SimulationError(msg)
        return energy

    def _gather(self, name: str, width: int) -> NDArray[np.float64]:
        values = np.array(self._lmp.gather_atoms(name, 1, width), dtype=float)
        values = values.reshape(-1, width)
        if len(values) != self._count or not np.isfinite(values).all():
            what = {"x": "positions", "f": "forces"}[name]
            msg = f"LAMMPS returned {what} that aren't finite{self._suspicion()}"
            raise SimulationError(msg)
        return values

    def _suspicion(self) -> str:
        """Return what may be wrong with the positions that were handed to LAMMPS last."""
        if len(self._last) > 1:
            gap, near = cKDTree(self._last).query(self._last, k=2)
            i = int(gap[:, 1].argmin())
            if gap[i, 1] < _OVERLAP:
                j = int(near[i, near[i] != i][0])
                return f"; atoms {min(i, j) + 1} and {max(i, j) + 1} are {gap[i, 1]:.2g} Å apart"
        return "; no atoms overlap, so the potential may have no finite value there"

    def _command(self, text: str) -> None:
        try:
            run_command(self._lmp, text)
        except SimulationError:
            self._count = -1
            raise
