"""The samples: Voronoi grains with and without a defect, relaxed by LAMMPS.

As in the paper ("Grain creation"): a polycrystal of which one grain is kept, a
vacancy or a screw dislocation put in its centre, energy minimised.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prammol.core.errors import InputError, SimulationError
from prammol.core.parallel import Communicator
from prammol.potentials.lammps import Cluster
from prammol.potentials.potential import Potential, aluminium
from prammol.simulation.settled_grain import settled_grain
from prammol.structure.atoms import Atoms
from prammol.structure.dislocation import add_screw, burgers_vector, line_between_rows
from prammol.structure.labels import Labels
from prammol.structure.voronoi import neighbour_counts, voronoi_grain_sites

# derived: the truth is a minimum to far below what diffraction tells [eV/Å]
_FORCE_TOLERANCE = 1e-8
_MAX_ITERATIONS = 20_000  # chosen: not varied
_ATTEMPTS = 10  # chosen: a limit that hardly binds; not varied


@dataclass(frozen=True)
class CrystalKind:
    """A sample of the paper: its number of atoms, the seed of its grain, its defect."""

    atoms: int
    seed: int
    defect: str = ""


# derived: the paper's numbers of atoms; a seed is the name of a grain
KINDS = {
    "bulk": CrystalKind(4791, 1),
    "vacancy": CrystalKind(4679, 2, "vacancy"),
    "dislocation": CrystalKind(8777, 7, "dislocation"),
    "bulk-large": CrystalKind(8777, 7),
}


def make_crystal(
    kind: str,
    potential: Potential | None = None,
    atoms: int | None = None,
    seed: int | None = None,
    comm: Communicator | None = None,
    relax: bool = True,
    substitute: Mapping[str, float] | None = None,
) -> Atoms:
    """Make one of the samples, axes of the cell as in LATTICES, mean position 0.

    Parameters
    ----------
    kind : {"bulk", "vacancy", "dislocation", "bulk-large"}
        Without a defect, with the atom nearest the centroid removed, with a screw
        dislocation along [110] (fcc; [111] in bcc) through the centre, and the grain
        of ``dislocation`` without the defect.
    potential : Potential, optional
        The paper's aluminium if not given.
    atoms : int, optional
        Number of atoms of the result; 4791, 4679, 8777 and 8777 if not given.
    seed : int, optional
        Seed of the grain; the kind's own if not given.
    comm : Communicator, optional
        LAMMPS runs on all its ranks; all get the same crystal.
    substitute : mapping of str to float, optional
        Elements of the potential, and the part of all atoms that each takes the place of, drawn
        with the seed of the grain before it relaxes.
    relax : bool
        Minimise the energy (all atoms free). A grain that loses its defect or an
        atom by it is replaced by the next one of the same seed.

    Returns
    -------
    Atoms
        ``info`` has ``kind``, ``seed``, ``attempt``, ``potential``, ``potential_sha1``,
        ``structure``, ``lattice_constant`` [Å], ``cell`` [Å] if the potential has its own shape,
        and, if relaxed, ``energy`` [eV]; for a dislocation ``burgers_vector`` [Å].

    Raises
    ------
    InputError
        If the kind is unknown, no grain of so few atoms holds the defect, or the potential doesn't
        have the elements.
    SimulationError
        If LAMMPS fails, or no grain of the seed keeps its defect when relaxed.
    """
    spec = _kind(kind)
    potential = potential or aluminium()
    if potential.compound and spec.defect:
        msg = f"{kind!r} crystals are of one element, expected kind bulk for a compound"
        raise InputError(msg)
    count = spec.atoms if atoms is None else int(atoms)
    grain_seed = spec.seed if seed is None else int(seed)
    cluster = Cluster(potential, comm) if relax else None
    try:
        unfinished = 0
        for attempt in range(_ATTEMPTS):
            x, sites, wanted = _ideal(spec.defect, potential, count, grain_seed, attempt)
            kinds = potential.lattice.kind_of_site[sites]
            kinds = _substituted(kinds, potential, substitute or {}, grain_seed)
            symbols = np.array(potential.elements)[kinds]
            info: dict[str, Any] = {
                "kind": kind,
                "seed": grain_seed,
                "attempt": attempt,
                "potential": potential.name,
                "potential_sha1": potential.checksum,
                "structure": potential.structure,
                "lattice_constant": potential.lattice_constant,
            }
            if potential.crystal is not None:
                cell = potential.lattice_constant * potential.lattice.vectors
                info["cell"] = cell.ravel().tolist()
            if spec.defect == "dislocation":
                info["burgers_vector"] = wanted.tolist()
            if cluster is None:
                return Atoms.of_elements(x - x.mean(axis=0), symbols, info=info)
            if potential.compound:
                settled = settled_grain(potential, count, grain_seed, attempt, cluster)
                if settled is None:
                    continue
                x, kinds = settled
                kinds = _substituted(kinds, potential, substitute or {}, grain_seed)
                symbols = np.array(potential.elements)[kinds]
            if potential.others:
                cluster.labels = Labels.of_atoms(x, kinds)
            x, info["energy"], converged = cluster.relax(
                x, force_tolerance=_FORCE_TOLERANCE, max_iterations=_MAX_ITERATIONS
            )
            unfinished += not converged
            if converged and _sound(x, spec.defect, wanted, potential):
                return Atoms.of_elements(x - x.mean(axis=0), symbols, info=info)
    finally:
        if cluster is not None:
            cluster.close()
    why = f" ({unfinished} of them found no minimum of the energy)" if unfinished else ""
    msg = (
        f"none of {_ATTEMPTS} grains of {count} atoms with seed {grain_seed} stayed a sound "
        f"{kind!r} crystal when relaxed{why}; take another seed or more atoms"
    )
    raise SimulationError(msg)


def _kind(kind: str) -> CrystalKind:
    if kind not in KINDS:
        near = difflib.get_close_matches(kind, KINDS, 1)
        hint = f", did you mean {near[0]!r}?" if near else ""
        msg = f"no crystal kind {kind!r}, expected one of {', '.join(KINDS)}{hint}"
        raise InputError(msg)
    return KINDS[kind]


def _ideal(
    defect: str, potential: Potential, count: int, seed: int, attempt: int
) -> tuple[NDArray[np.float64], NDArray[np.int_], NDArray[np.float64]]:
    """Return the unrelaxed crystal, its sites, and the hole's place or the Burgers vector [Å]."""
    lattice, edge = potential.lattice, potential.lattice_constant
    x, sites = voronoi_grain_sites(lattice, edge, count + (defect == "vacancy"), seed, attempt)
    if defect == "vacancy":
        centre = int(((x - x.mean(axis=0)) ** 2).sum(axis=1).argmin())
        reach = lattice.first_shell * potential.neighbour_distance
        if neighbour_counts(x, reach)[centre] != lattice.coordination:
            msg = f"a crystal of {count} atoms has no interior atom to remove for a vacancy"
            raise InputError(msg)
        return np.delete(x, centre, axis=0), np.delete(sites, centre), x[centre]
    if defect == "dislocation":
        if lattice.line is None:
            msg = f"dislocations are known for fcc and bcc, not for {potential.structure}"
            raise InputError(msg)
        line = np.array(lattice.line, dtype=float)
        burgers = edge / 2 * line
        return add_screw(x, line_between_rows(x, line), burgers), sites, burgers
    return x, sites, np.zeros(3)


def _substituted(
    kinds: NDArray[np.int_], potential: Potential, parts: Mapping[str, float], seed: int
) -> NDArray[np.int_]:
    """Return the elements of atoms, (n,), some of which others have taken the place of."""
    kinds = kinds.copy()
    for name, part in parts.items():
        if name not in potential.elements or not 0 < part < 1:
            msg = (
                f"substitute {name}:{part:g}: expected one of {', '.join(potential.elements)} and "
                "a part between 0 and 1"
            )
            raise InputError(msg)
        kind = potential.elements.index(name)
        others = np.flatnonzero(kinds != kind)
        rng = np.random.default_rng([seed, kind, 1])
        number = min(round(part * len(kinds)), len(others))
        kinds[rng.choice(others, number, replace=False)] = kind
    return kinds


def _sound(
    x: NDArray[np.float64], defect: str, wanted: NDArray[np.float64], potential: Potential
) -> bool:
    """Tell whether no atom evaporated and the defect is still there."""
    reach = potential.lattice.first_shell * potential.neighbour_distance
    counts = neighbour_counts(x, reach)
    if len(x) > 1 and counts.min() < 1:
        return False
    if defect == "vacancy":
        near = np.linalg.norm(x - wanted, axis=1) < reach
        full = potential.lattice.coordination
        return bool(near.sum() == full and (counts[near] == full - 1).all())
    if defect == "dislocation":
        try:
            found = burgers_vector(x, potential.lattice_constant, potential.structure)
        except InputError:  # it left by the side where the circuit would be
            return False
        return bool(np.allclose(found, wanted, atol=1e-6))
    return True
