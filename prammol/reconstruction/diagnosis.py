"""What a misfit beyond noise may come from: the single effects that would explain most of it.

Each effect of an experiment that the model doesn't have is fitted alone
(:mod:`prammol.reconstruction.effects`); the one that lowers the misfit most is named first. It is a
hint: several effects at once share what they explain, and an object that was fitted to wrong counts
has taken a part of it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import chdtri

from prammol.core.errors import InputError
from prammol.diffraction.form_factors import form_factors
from prammol.phasing.grains import unseen_twins
from prammol.reconstruction.effects import Columns, Unexplained, outstanding_points
from prammol.reconstruction.model import Model
from prammol.reconstruction.occupancy.single_changes import single_changes
from prammol.reconstruction.problem import Problem
from prammol.reconstruction.refinement.external_forces import held_atoms, on_one_side
from prammol.reconstruction.refinement.matter_fit import explained_by_matter
from prammol.reconstruction.result import Cause
from prammol.structure.fitted_lattice import fit_lattice

Floats = NDArray[np.float64]

# chosen: 87 to 181 atoms; 0.95, 0.98 with light atoms, 0.37 on a substrate, 0.79 with 5 missing
_WORTHWHILE = 0.8  # of what contradicts the object, on points held out
# derived: a level of significance
_CHANCE = 1e-3  # that noise alone makes an effect be named
_NEARLY_ALL = 0.9  # chosen: of what an effect explains in all patches; display
_SAME_VALUE = 4  # chosen: points with the largest count that make a limit; display
_BRIGHT = 100.0  # derived: photons; fewer share their largest count by chance
_HALF = 0.5  # derived: more than a half is most
_CLEAR = 5.0  # derived: standard deviations of noise
_SAMPLES = 64  # derived: a form factor is smooth


def diagnose(problem: Problem, model: Model) -> tuple[Cause, ...]:
    """Return the effects that would explain a part of the misfit, the largest part first.

    Called together by all ranks.

    Parameters
    ----------
    problem : Problem
        With the calibration of the model.
    model : Model
        The object at the end.
    """
    rest = Unexplained(problem, model)
    found = [*_of_checks(problem, model), *_of_grains(problem, model)]
    fitted = [*_of_patches(rest), *_of_points(rest), *_of_shape(rest), *_of_atoms(rest)]
    # A density has so many parameters that it imitates what a few explain.
    if not any(cause.explains > _HALF for cause in fitted):
        fitted += _of_matter(problem, model, rest)
    fitted.sort(key=lambda cause: -cause.gain)
    return (*found, *fitted)


def found_besides(problem: Problem, model: Model) -> tuple[Cause, ...]:
    """Return what an object that is right needed besides its atoms: matter, forces from outside."""
    found, nan = [], float("nan")
    matter = model.calibration.matter if model.calibration else None
    if matter is not None:
        found.append(Cause("matter", "", nan, nan))
    if np.isfinite(model.stiffness) and not len(model.displacements):
        _, forces = problem.cluster.energy_forces(model.positions)
        held = held_atoms(forces)
        if on_one_side(model.positions, held, _HALF):
            where = "{:.1f}, {:.1f}, {:.1f} Å".format(*model.positions[held].mean(axis=0))
            found.append(Cause("held atoms", f"{held.sum()} around {where}", nan, nan))
    return tuple(found)


def _of_matter(problem: Problem, model: Model, rest: Unexplained) -> list[Cause]:
    """Return matter beside the crystal, if held-out points say that it would explain a part."""
    fitted = len(model.displacements) or (model.calibration and model.calibration.matter)
    if fitted or rest.over <= _CLEAR * rest.sigma:
        return []
    part = explained_by_matter(problem, model.positions)
    return [Cause("matter", "", part, part * rest.over)] if part > _WORTHWHILE else []


def _cause(rest: Unexplained, effect: str, where: str, gain: float) -> Cause:
    return Cause(effect, where, gain / rest.over if rest.over > rest.sigma else float("nan"), gain)


def _least(parameters: int) -> float:
    """Return what as many parameters gain by chance at most."""
    return 0.5 * float(chdtri(parameters, _CHANCE))


def _of_patches(rest: Unexplained) -> list[Cause]:
    """Return scale, offset, rotation and background of patches."""
    q, m = rest.problem.factor.q, rest.moments()
    maps = [q[:, a] * m[b] for a in range(3) for b in range(3)]
    turns = np.cross(q.T, m, axis=0)
    plain, mapped = [rest.signal], [rest.signal, *maps]
    ones = np.ones_like(rest.signal)
    found = [
        _in_patches(rest, "scale", plain, [rest.signal]),
        _in_patches(rest, "offset", mapped, [*m]),
        _in_patches(rest, "rotation", mapped, [*turns]),
        _in_patches(rest, "background", plain, [ones]),
    ]
    symmetric = [maps[3 * a + b] + maps[3 * b + a] for a in range(3) for b in range(a, 3)]
    rotations = [maps[3 * a + b] - maps[3 * b + a] for a in range(3) for b in range(a)]
    found.append(_in_all(rest, "even strain", [rest.signal, *rotations], symmetric))
    return [cause for cause in found if cause is not None]


def _of_shape(rest: Unexplained) -> list[Cause]:
    """Return effects that depend on q or blur the grid."""
    square = np.sum(rest.problem.factor.q**2, axis=1)
    plain = [rest.signal]
    found = [
        _in_all(rest, "blur", plain, rest.second_differences()),
        _in_all(rest, "thermal motion", plain, [-square * rest.signal]),
        _diffuse(rest, square),
    ]
    slope = _form_factor(rest.problem)
    if slope is not None:
        found.append(_in_all(rest, "form factor", plain, [2.0 * slope * rest.signal]))
    return [cause for cause in found if cause is not None]


def _diffuse(rest: Unexplained, square: Floats) -> Cause | None:
    """Return what diffuse scattering explains, or where it is predicted what its errors do."""
    problem = rest.problem
    if problem.diffuse is None:
        return _in_all(rest, "diffuse scattering", [rest.signal], [square])
    ruled = problem.diffuse.photons[problem.shard.global_index] > rest.signal
    gain = rest.without(ruled)
    return _cause(rest, "diffuse scattering", "", gain) if gain > _least(2) else None


def _form_factor(problem: Problem) -> Floats | None:
    """Return ln f(q) / f(G) of all points, (m,), None if the gain has it already."""
    if problem.data.meta.get("form_factor") == "q":
        return None
    peaks = np.linalg.norm(problem.data.peaks(), axis=1)
    length = np.linalg.norm(problem.factor.q, axis=1)
    comm = problem.comm
    low = -comm.max(-float(length.min(initial=np.inf)))
    high = comm.max(float(length.max(initial=0.0)))
    at = np.linspace(low, high, _SAMPLES)
    try:
        known = np.log(form_factors(problem.potential.element, at))
    except (InputError, ValueError):
        return None
    own = np.interp(peaks, at, known)[problem.shard.patch_index]
    return np.asarray(np.interp(length, at, known) - own)


def _in_all(
    rest: Unexplained, effect: str, free: Sequence[Floats], columns: Sequence[Floats]
) -> Cause | None:
    """Return what columns on all points explain beyond those that are free anyway."""
    base = rest.everywhere(free)
    more = rest.everywhere(columns, len(free))
    gain = rest.gain([*base, *more], len(free) + len(columns)) - rest.gain(base, len(free))
    return _cause(rest, effect, "", gain) if gain > _least(len(columns)) else None


def _in_patches(
    rest: Unexplained, effect: str, free: Sequence[Floats], columns: Sequence[Floats]
) -> Cause | None:
    """Return the same of columns that each patch has for itself, and which patches matter."""
    base, first = rest.everywhere(free), len(free)
    nothing = rest.gain(base, first)

    def of(patches: list[int]) -> float:
        more: list[Columns] = rest.of_patches(columns, patches, first)
        return rest.gain([*base, *more], first + len(columns) * len(patches)) - nothing

    patches = list(range(len(rest.problem.data.patches)))
    every = of(patches)
    if every <= _least(len(columns) * len(patches)):
        return None
    alone = [of([k]) for k in patches]
    order = sorted(patches, key=lambda k: -alone[k])
    for number in range(1, len(patches)):
        some = order[:number]
        gain = alone[some[0]] if number == 1 else of(some)
        if gain > _NEARLY_ALL * every:
            return _cause(rest, effect, _listed(some), gain)
    return _cause(rest, effect, _listed(patches), every)


def _listed(patches: Sequence[int]) -> str:
    names = [str(k + 1) for k in sorted(patches)]
    if len(names) == 1:
        return f"patch {names[0]}"
    return f"patches {', '.join(names[:-1])} and {names[-1]}"


def _of_points(rest: Unexplained) -> list[Cause]:
    """Return effects on few points: a limit of the detector, single wrong points."""
    found = []
    for effect, points in (
        ("saturation", _at_limit(rest)),
        ("hot points", _outstanding(rest)),
    ):
        number = int(rest.comm.sum(float(points.sum())))
        if number:
            gain = rest.without(points)
            if gain > _least(number):
                found.append(_cause(rest, effect, f"{number} points", gain))
    return found


def _at_limit(rest: Unexplained) -> NDArray[np.bool_]:
    """Tell which points have the largest count, where several share it."""
    shard, comm = rest.problem.shard, rest.comm
    top = comm.max(float(shard.counts.max(initial=0.0)))
    points = shard.valid & (shard.counts >= top)
    shared = top >= _BRIGHT and comm.sum(float(points.sum())) >= _SAME_VALUE
    return points if shared else np.zeros_like(points)


def _outstanding(rest: Unexplained) -> NDArray[np.bool_]:
    """Tell which of this rank's points are :func:`outstanding`."""
    every = np.concatenate([points.ravel() for points in outstanding(rest)])
    return np.asarray(every[rest.problem.shard.global_index])


def outstanding(rest: Unexplained) -> list[NDArray[np.bool_]]:
    """Tell which points contradict a model while those beside them don't.

    Called together by all ranks. Where most of the others are explained, it is the detector.

    Parameters
    ----------
    rest : Unexplained
        What the model leaves.

    Returns
    -------
    list of bool ndarray
        One array with the patch's shape per patch, the same on all ranks.
    """
    shard = rest.problem.shard
    own = rest.valid * np.abs(shard.counts - rest.expected) / np.sqrt(rest.expected + 1.0)
    # Ranks own consecutive points, in their order.
    return outstanding_points(np.concatenate(rest.comm.gather(own)), rest.problem.data.patches)


def _of_atoms(rest: Unexplained) -> list[Cause]:
    """Return the best change of a single atom."""
    best = single_changes(rest.problem, rest.model).best
    if best is None:
        return []
    where = "{:.1f}, {:.1f}, {:.1f} Å".format(*best.position)
    return [_cause(rest, best.kind, where, best.gain)]


def _of_grains(problem: Problem, model: Model) -> list[Cause]:
    """Return twins of which no patch has a peak of their own, and where they have some."""
    lattice = problem.potential.lattice
    fitted = fit_lattice(model.positions, lattice) if problem.potential.structure == "fcc" else None
    if fitted is None:
        return []
    found, nan = [], float("nan")
    for normal, peaks in unseen_twins(
        problem.data, lattice.primitive @ fitted.axes * fitted.constant
    ):
        where = ", ".join("({:.2f}, {:.2f}, {:.2f})".format(*q) for q in peaks)
        plane = "({:.2f}, {:.2f}, {:.2f})".format(*normal)
        found.append(
            Cause(
                "unseen grain",
                f"a twin with the plane normal to {plane}: measure around {where} 1/Å",
                nan,
                nan,
            )
        )
    return found


def _of_checks(problem: Problem, model: Model) -> list[Cause]:
    """Return mistakes that need no fit: a mask or a support that is the wrong way round."""
    found = []
    seen = hidden = 0.0
    for counts, valid in zip(problem.data.counts, problem.data.valid, strict=True):
        masked = counts[~valid]
        masked = masked[np.isfinite(masked) & (masked >= 0)]
        seen, hidden = seen + float(counts[valid].sum()), hidden + float(masked.sum())
    number = sum(int(v.sum()) for v in problem.data.valid)
    every = sum(v.size for v in problem.data.valid)
    if hidden > seen and number < _HALF * every:
        found.append("inverted mask")
    if np.mean(problem.support.contains(model.positions)) < _HALF:
        found.append("inverted support")
    return [Cause(name, "", float("nan"), float("nan")) for name in found]
