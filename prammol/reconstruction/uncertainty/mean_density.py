"""The mean density of a crystal whose surface atoms hop: occupancies of atoms and vacant sites.

Elastic scattering of a warm crystal is that of its density averaged over time (Willis &
Pryor, Thermal Vibrations in Crystallography, 1975). An atom that hops between two places is
in each of them for a part of the time: a list of atoms, all there and nowhere else, can't
say that.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from prammol.diffraction.debye_waller import ThermalStructureFactor
from prammol.likelihood.holdout_blocks import hold_out_blocks
from prammol.likelihood.quasi_likelihood import PoissonMisfit
from prammol.reconstruction.model import Model, atoms_of
from prammol.reconstruction.occupancy.continuous import fit_occupancies
from prammol.reconstruction.problem import Problem
from prammol.reconstruction.refinement.thermal_model import prefers
from prammol.structure.atoms import Atoms
from prammol.structure.surface import equivalent_diameter, on_surface

_HELD_OUT = 0.1  # chosen: as restrained_refinement.held_out; see there
_ITERATIONS = 60  # chosen: not varied
_TOLERANCE = 1e-7  # chosen: not varied
# chosen: not varied
_OCCUPANCY_ACCURACY = 1e-6  # accuracy of the transforms
# chosen: display
_LEAST = 0.01  # sites that are less occupied are left out


def mean_density(problem: Problem, model: Model, iteration: int) -> Atoms | None:
    """Return the sites of a warm object with the part of the time each is occupied.

    Occupancies of the atoms of the surface, and of the vacant sites of the lattice beside
    them, are fitted together, positions and thermal motion being given; blocks of held-out
    points must prefer the result to the atoms alone.

    Parameters
    ----------
    problem : Problem
    model : Model
        The object at the end.
    iteration : int
        Of the loop, for the random draws.

    Returns
    -------
    Atoms or None
        Atoms and sites beside them [Å] with the columns ``occupancy`` and
        ``mean_square_displacement`` [Å^2]. None where the data didn't ask for occupancies of
        the atoms: of a cold crystal, or where photons are few.
    """
    if not len(model.occupancies):
        return None
    x, potential, shard = model.positions, problem.potential, problem.shard
    vacant = potential.vacant_sites(x)
    sites = np.concatenate([x, vacant])
    free = np.concatenate([on_surface(x, potential.bond_reach), np.ones(len(vacant), bool)])
    motion = model.displacements if len(model.displacements) else np.zeros(len(x))
    # Vacant sites have few neighbours, and such atoms move most.
    motion = np.concatenate([motion, np.full(len(vacant), motion.max())])
    alone = np.concatenate([model.occupancies, np.zeros(len(vacant))])
    base = problem.factor
    length = float(np.linalg.norm(problem.data.peaks(), axis=1).mean())
    factor = ThermalStructureFactor(
        base.patches,
        motion,
        length,
        _OCCUPANCY_ACCURACY,
        base.threads,
        amplitude=base.amplitude,
        scatterers=base.scatterers,
    )
    rng = problem.rng("mean density", iteration)
    points = hold_out_blocks(problem.data, shard, equivalent_diameter(x), _HELD_OUT, rng)
    fitted = PoissonMisfit(shard, factor, points.fitted)
    occupied = fit_occupancies(fitted, sites, alone, free, _ITERATIONS, _TOLERANCE)
    old, new = factor.forward(sites, alone), factor.forward(sites, occupied)
    if prefers(problem, len(x), points.apart, old, new):
        every = PoissonMisfit(shard, factor)
        occupied = fit_occupancies(every, sites, occupied, free, _ITERATIONS, _TOLERANCE)
    else:
        occupied = alone
    there = occupied >= _LEAST
    columns = {"occupancy": occupied[there], "mean_square_displacement": motion[there]}
    found = replace(model, positions=sites[there])
    return atoms_of(potential, found, columns)
