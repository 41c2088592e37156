"""What the data of a reconstruction can decide, said before it starts."""

from __future__ import annotations

from typing import Any

from prammol.cli import messages
from prammol.core.errors import DataError, SimulationError
from prammol.core.parallel import Communicator
from prammol.diffraction.dataset import Diffraction
from prammol.likelihood.prospects import (
    SINGLE_ATOMS,
    Prospects,
    measured_patches,
    prospects,
)
from prammol.potentials.lammps import Cluster
from prammol.potentials.potential import Potential
from prammol.potentials.softness import relaxation


def foreseen(
    name: object,
    data: Diffraction,
    atoms: float,
    potential: Potential,
    comm: Communicator,
    forced: bool = False,
) -> dict[str, Any] | None:
    """Say what can be decided; refuse where patches are too narrow for single atoms.

    Called together by all ranks.

    Parameters
    ----------
    name : object
        The data's file, for the messages.
    data : Diffraction
    atoms : float
        Atoms that fill the support.
    potential : Potential
    comm : Communicator
    forced : bool
        Warn instead of refusing.

    Returns
    -------
    dict or None
        :meth:`prammol.likelihood.prospects.Prospects.summary`; None if the potential can't
        relax a ball, or the crystal has several elements.

    Raises
    ------
    DataError
        If single atoms can't be decided with ten times the photons, and it isn't forced.
    """
    if len(potential.elements) > 1:
        if comm.is_root:
            messages.detail("what the data can decide isn't known for several elements")
        return None
    cluster = Cluster(potential, comm)
    try:
        soft = relaxation(potential, cluster)
    except SimulationError as error:
        if comm.is_root:
            messages.detail(f"what the data can decide isn't known: {error}")
        return None
    finally:
        cluster.close()
    found = comm.bcast(prospects(measured_patches(data), atoms, potential, soft)[0])
    if found.too_narrow and not forced:
        msg = (
            f"{name}: {_why(found)}; give --preset shape for its shape and strain, measure wider "
            "patches, or give --anyway to try"
        )
        raise DataError(msg)
    if comm.is_root:
        messages.say(found.text())
        if found.verdict != SINGLE_ATOMS:
            messages.warn(f"{name}: {_why(found)}")
        elif found.hard_to_find:
            messages.warn(
                f"{name}: the counts decide single atoms, but from patches so narrow or faint "
                "the search has ended with wrong atoms so far; see whether it converges"
            )
    return found.summary()


def note_of_lattice(
    data: Diffraction, potential: Potential, preset: str, settings: dict[str, Any]
) -> str | None:
    """Say so if the peaks don't fix the lattice, before anything is computed."""
    import numpy as np

    from prammol.phasing.indexing import lattice_note
    from prammol.phasing.known_reflections import phased_patches
    from prammol.reconstruction.presets import get_preset
    from prammol.reconstruction.stages.default.phase_patches import PhasePatches

    for stage in get_preset(preset).with_settings(settings).start:
        if isinstance(stage, PhasePatches):
            chosen, unmeasured = phased_patches(data, potential)
            peaks = np.vstack([data.peaks()[chosen], unmeasured])
            return lattice_note(peaks, potential, stage.sublattice)
    return None


def _why(found: Prospects) -> str:
    """Return why single atoms can't be decided, as one clause."""
    factor = found.resolving_factor
    more = "no number of photons" if factor is None else f"{factor:.2g} times the photons"
    return (
        f"these data decide {found.verdict}, not single atoms: some {found.wrong_atoms:.2g} of "
        f"{found.atoms:.0f} would be wrong (limit: {found.limit}; {more} would do)"
    )
