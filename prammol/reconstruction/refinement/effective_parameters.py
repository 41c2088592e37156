"""How many parameters the counts fitted where they moved the atoms against an energy.

With F the Fisher information and H the Hessian of the energy, k times which holds the atoms, it is
the trace of F (F + k H)^-1 (Moody, Adv. Neural Inf. Process. Syst. 4, 847 (1992)): three for each
atom that is free, none for one that is held. The misfit of a right object is half as much below
that of pure noise. A wrong one whose atoms are free fits nearly as well as noise.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse.linalg import LinearOperator, cg

from prammol.likelihood.fisher_information import Fisher
from prammol.reconstruction.model import Model
from prammol.reconstruction.problem import Problem
from prammol.reconstruction.refinement.curvature import curvature_of_energy, hessian_times

_EPSILON = 1e-4  # derived: half a per cent of the number is asked for
_RESIDUAL = 0.02  # derived: as much of the number is uncertain, far below its noise
_MOST = 100  # chosen: iterations of the conjugate gradient; not varied


def effective_parameters(problem: Problem, model: Model) -> float:
    """Return how many parameters of an object the counts fitted; 0 if the energy holds it.

    Estimated from one random vector of signs (Hutchinson, Commun. Stat. Simul. Comput. 19, 433
    (1990)), and how many occupancies are neither 0 nor 1.

    Parameters
    ----------
    problem : Problem
    model : Model
    """
    x = model.positions
    if not np.isfinite(model.stiffness) or not len(x):
        return 0.0
    motion = model.displacements if len(model.displacements) else None
    present = model.occupancies if len(model.occupancies) else None
    factor = problem.factor.with_accuracy(_EPSILON)
    fisher = Fisher(problem.shard, factor, x, model.scale, motion, None, present)
    rng = problem.rng("effective parameters", 0)
    of_energy = model.stiffness * curvature_of_energy(problem.cluster, x, rng)
    inverse = np.linalg.inv(fisher.blocks() + of_energy * np.eye(3))

    def curvature(v: NDArray[np.float64]) -> NDArray[np.float64]:
        v = v.reshape(-1, 3)
        held = model.stiffness * hessian_times(problem.cluster, x, v)
        return np.asarray(fisher.times(v) + held).ravel()

    def approximately(v: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.einsum("jab,jb->ja", inverse, v.reshape(-1, 3)).ravel()

    size = (x.size, x.size)
    signs = rng.choice([-1.0, 1.0], size=x.shape)
    system, guess = LinearOperator(size, curvature), LinearOperator(size, approximately)
    seen = fisher.times(signs).ravel()
    solved, _ = cg(system, seen, rtol=_RESIDUAL, maxiter=_MOST, M=guess)
    number = float(signs.ravel() @ solved)
    between = 0 if present is None else int(((present > 0) & (present < 1)).sum())
    return float(np.clip(number, 0.0, x.size)) + between
