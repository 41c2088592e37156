"""When a start is good enough, and when the loop ends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from prammol.reconstruction.preset import Preset
from prammol.reconstruction.state import State

# Why a run ends whose atoms explain the counts as a whole, but not as well as others would.
SINGLE_CHANGE = "a single change would explain more"
# Why one ends in which an earlier state tells as much as the counts.
UNDECIDED = "the counts alone don't decide every atom"
# Why one ends that explains the counts by one of many shapes.
SHAPE_ONLY = "shape only"
# derived: five standard deviations, as significance
_TOO_GOOD = 5.0  # standard deviations below pure noise
# chosen: 8777 atoms at 700 K, an end after 6 instead of more than 19 iterations; not varied
_LAST = 2  # iterations that may hardly help
_SLOW = 0.7  # of the misfit, left by two iterations; chosen: not varied
# While more of the atoms are wrong the misfit goes up and down before it falls.
_FEW = 0.05  # chosen: 600 atoms at 300 K; as many wrong atoms from 0.025 to 0.1


def doubt_about(
    history: Sequence[Mapping[str, Any]],
    fractional: bool,
    undecided: bool,
    matter: bool,
    shapes: bool,
) -> str | None:
    """Return why a run isn't converged though its misfit is that of noise; None if it is.

    Parameters
    ----------
    history : sequence of mapping
        All records.
    fractional : bool
        Whether counts aren't whole numbers.
    undecided : bool
        Whether an earlier state tells as much as the counts.
    matter : bool
        Whether there is a density beside the crystal.
    shapes : bool
        Whether shapes were fitted instead of single atoms.
    """
    if shapes:
        # Many explain such counts, and the error bars don't know all of them.
        return SHAPE_ONLY
    if matter:
        # A density may pass for an atom of the surface, with a misfit of noise.
        return "matter beside the crystal"
    if undecided:
        return UNDECIDED
    if fractional and history[-1].get("excess", 0.0) < -_TOO_GOOD:
        # Less noise than photons have: that the misfit is small says nothing.
        return "counts aren't photons"
    return None


def good_enough_start(plan: Preset, tried: Sequence[State]) -> bool:
    """Tell whether the starts so far hold one that is worth going on from.

    Parameters
    ----------
    plan : Preset
        `good_start` and `same_start` decide.
    tried : sequence of State
        What each start ended in.
    """
    wrong = sorted(state.verdict.wrong for state in tried)
    best = min(tried, key=lambda state: state.verdict.wrong)
    # With few photons noise alone is worth many atoms: what explains the data is good.
    if best.verdict.explained:
        return True
    if wrong[0] < plan.control.good_start * len(tried) * len(best.positions):
        return True
    # Two that agree are as good as a model can be that doesn't explain all, of a warm crystal.
    return len(tried) > 1 and wrong[1] < (1 + plan.control.same_start) * wrong[0]


def reason_to_stop(plan: Preset, state: State, idle: int, stalled: bool) -> str:
    """Return why the reconstruction ends, or an empty string.

    Parameters
    ----------
    plan : Preset
    state : State
        After an iteration.
    idle : int
        Iterations in a row, up to this one, that selected nothing.
    stalled : bool
        See :func:`is_stalled`.
    """
    if state.verdict.converged:
        return "converged"
    if idle >= plan.control.patience or stalled:
        if state.verdict.right:
            return "converged"
        return SINGLE_CHANGE if state.verdict.explained else "patience"
    if state.status.iteration >= plan.control.max_iterations:
        return "max_iterations"
    return ""


def iterations_without_selection(history: Sequence[dict[str, Any]]) -> int:
    """Return how many iterations in a row have selected nothing; the start isn't one."""
    return next((n for n, r in enumerate(reversed(history[1:])) if r["selected"]), len(history) - 1)


def is_stalled(plan: Preset, state: State, history: Sequence[dict[str, Any]]) -> bool:
    """Tell whether the last two iterations, the one at hand included, hardly helped."""
    now = state.verdict
    wrong = [r["wrong"] for r in history if "wrong" in r]
    if plan.control.least_progress == 0 or now.explained or len(wrong) < max(len(history), _LAST):
        return False
    if now.wrong > _FEW * len(state.positions):
        return False
    before = min(wrong[: 1 - _LAST])
    return min(*wrong[1 - _LAST :], now.wrong) > (1.0 - plan.control.least_progress) * before


def is_stalling(plan: Preset, history: Sequence[dict[str, Any]]) -> bool:
    """Tell whether the last iteration hardly lowered the misfit, though few atoms are wrong."""
    wrong = [r.get("wrong", 0.0) for r in history[-2:]]
    if plan.control.least_progress == 0 or len(wrong) < 2 or wrong[0] <= 0:
        return False
    if wrong[1] > _FEW * history[-1]["atoms"]:
        return False
    return bool(wrong[1] > (1.0 - plan.control.least_progress) * wrong[0])


def is_slow(history: Sequence[dict[str, Any]]) -> bool:
    """Tell whether the last two iterations together left most of the misfit."""
    wrong = [r.get("wrong", 0.0) for r in history[-3:]]
    return bool(len(wrong) == 3 and wrong[2] > _SLOW * wrong[0] > 0)
