"""What is recorded of an iteration."""

from __future__ import annotations

from typing import Any

import numpy as np

from prammol.core.errors import DataError, SimulationError
from prammol.core.memory import resident_mib
from prammol.likelihood.poisson import poisson_log_likelihood
from prammol.reconstruction.model import Model
from prammol.reconstruction.problem import Problem
from prammol.reconstruction.state import State

Record = dict[str, Any]


def record_of(problem: Problem, state: State, stages: dict[str, float], seconds: float) -> Record:
    """Return what is known after an iteration.

    Parameters
    ----------
    problem : Problem
    state : State
    stages : dict
        Seconds of each stage, by its name.
    seconds : float
        Of the whole iteration.

    Returns
    -------
    dict
        ``iteration``, ``log_likelihood`` (of all valid points), ``atoms, added, removed,
        selected, scale``, ``energy`` and ``energy_per_atom`` [eV]; where known ``excess`` (of
        the misfit over pure noise, in standard deviations) and ``wrong`` (the same in missing
        atoms), ``temperature``, ``temperature_of_waves`` [K] and ``diffuse_error`` (of the diffuse
        scattering, where it is predicted), ``bond`` (what a bond is worth as a log-likelihood,
        once it is learnt), ``earlier`` if it began with
        another state; ``seconds``, ``stages``; ``memory_mib`` and ``memory_peak_mib``
        (resident memory of the largest rank, now and at most so far [MiB]; 0 where the system
        doesn't say). The loop adds ``stalled`` where two iterations hardly lowered the misfit,
        and with ``mask_flaws`` ``outliers``, the points masked since they contradict the model.
    """
    model, verdict, status = state.model, state.verdict, state.status
    valid = problem.shard.valid
    seen = problem.shard.seen(model.structure_factor(problem.factor))
    energy, _ = problem.cluster.energy_forces(model.positions)
    known: Record = {}
    if np.isfinite(verdict.excess):
        known = {"excess": verdict.excess, "wrong": verdict.wrong}
    if status.earlier:
        known["earlier"] = True
    if model.bond_energy != Model.bond_energy:
        known["bond"] = model.bond_energy
    if model.diffuse is not None:
        soft, stiff = model.diffuse.temperatures
        known |= {"temperature": float(soft), "temperature_of_waves": float(stiff)}
        known["diffuse_error"] = model.diffuse.error
    memory, peak = (problem.comm.max(value) for value in resident_mib())
    return {
        "iteration": status.iteration,
        **known,
        "log_likelihood": poisson_log_likelihood(
            problem.shard.counts[valid],
            seen[valid],
            model.scale,
            problem.comm,
            problem.shard.background_at(valid),
        ),
        "atoms": len(model.positions),
        "added": status.added,
        "removed": status.removed,
        "selected": status.selected,
        "scale": model.scale,
        "energy": energy,
        "energy_per_atom": energy / max(len(model.positions), 1),
        "seconds": seconds,
        "stages": stages,
        "memory_mib": memory,
        "memory_peak_mib": peak,
    }


def require_finite(state: State, record: Record) -> None:
    """Raise if an iteration ended in nothing or in nonsense, before its state is kept."""
    after = f"after iteration {record['iteration']}"
    if record["atoms"] == 0:
        msg = (
            f"no atom is left {after}; do counts, support and potential belong to one crystal, "
            f"and are there photons enough?"
        )
        raise DataError(msg)
    if not all(np.isfinite([record["log_likelihood"], state.model.scale, record["energy"]])):
        msg = (
            f"{after} the log-likelihood is {record['log_likelihood']:g} and C is "
            f"{state.model.scale:g}, they should be finite; look for points with impossible "
            f"counts and mask them"
        )
        raise SimulationError(msg)
