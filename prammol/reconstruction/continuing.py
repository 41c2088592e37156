"""Whether an earlier state of the crystal suits new counts, or the usual start has to be made."""

from __future__ import annotations

from dataclasses import replace

from prammol.core.errors import DataError, InputError
from prammol.diffraction.support import Support, support_from_truth
from prammol.reconstruction.earlier_state import EarlierState
from prammol.reconstruction.observer import Observer
from prammol.reconstruction.occupancy.low_signal import is_low_signal
from prammol.reconstruction.preset import Preset
from prammol.reconstruction.problem import Problem
from prammol.reconstruction.refinement.lay_earlier import laid_on_counts
from prammol.reconstruction.state import State
from prammol.structure.atoms import Atoms

# chosen: as complete_atoms.nearly, beyond which single changes don't help; not varied
_MOST_AT_FIRST = 0.25  # of the atoms, wrong by the misfit
# chosen: as stopping, beyond which the misfit goes up and down before it falls; not varied
_MOST_AT_LAST = 0.05

USUAL = "starting from the counts instead"


def room_and_state(
    support: Support | None, initial: EarlierState | None
) -> tuple[Support, EarlierState | None]:
    """Return the support, made of an earlier state's atoms if none is given, and that state.

    Raises
    ------
    InputError
        If neither is given.
    """
    if support is not None:
        return support, initial
    if initial is None:
        msg = "neither a support nor an earlier state is given, expected one of them"
        raise InputError(msg)
    room = support_from_truth(Atoms(initial.positions, initial.element.split(",")[0]))
    return room, replace(initial, only=True)


def with_initial(
    problem: Problem, plan: Preset, initial: EarlierState | None, observer: Observer
) -> Problem:
    """Return the problem with an earlier state, laid on the counts, if it can be.

    Raises
    ------
    InputError
        If it isn't of the potential's crystal, or the preset knows no earlier states.
    DataError
        If the counts are of another orientation or lattice, and there is no other start.
    """
    if initial is None:
        return problem
    if not plan.continued:
        msg = f"preset {plan.name} can't start from an earlier state, expected preset default"
        raise InputError(msg)
    initial.require_like(problem.potential)
    problem = replace(problem, earlier=initial)
    try:
        x = laid_on_counts(problem)
    except DataError as error:
        if initial.only:
            raise
        observer.noted(f"{error}; {USUAL}")
        return replace(problem, earlier=None)
    return replace(problem, earlier=initial.at(x))


def is_doubtful(problem: Problem, state: State, ended: bool) -> bool:
    """Tell whether what began with an earlier state is worth less than the usual start may be.

    Parameters
    ----------
    problem : Problem
    state : State
        After the start, or at the end.
    ended : bool
        Which of them.

    Raises
    ------
    DataError
        If the earlier state doesn't suit and there is no other start.
    """
    if problem.earlier is None or not state.status.earlier or state.verdict.explained:
        return False
    most = (_MOST_AT_LAST if ended else _MOST_AT_FIRST) * len(state.positions)
    if state.verdict.wrong <= most:
        return False
    if not problem.earlier.only:
        return True
    if ended:
        return False
    msg = (
        f"{_wrong(state)}: it doesn't suit; give a state that is nearer, or a support to start "
        "from the counts"
    )
    raise DataError(msg)


def is_undecided(problem: Problem, state: State) -> bool:
    """Tell whether single atoms are hardly seen, so that an earlier state says where they are."""
    if not state.status.earlier:
        return False
    omega = state.model.structure_factor(problem.factor)
    return is_low_signal(problem.shard, problem.factor, omega)


def better_of(state: State, usual: State, observer: Observer) -> State:
    """Return what began with an earlier state, or the usual start if its misfit is less."""
    if usual.verdict.wrong < state.verdict.wrong:
        observer.noted(f"{_wrong(state)}, {usual.verdict.wrong:.3g} after the usual start; {USUAL}")
        return usual
    observer.noted(f"{_wrong(state)}, no less after the usual start; going on from it")
    return state


def _wrong(state: State) -> str:
    return (
        f"from the earlier state the counts are explained but for {state.verdict.wrong:.3g} of "
        f"{len(state.positions)} atoms' worth of misfit"
    )
