"""When a reconstruction ends, and how many starts are tried, with stages that follow a script."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from small_crystal import Rank, fcc_ball, simulate
from states import altered

from prammol.core.errors import InputError
from prammol.diffraction.support import support_from_truth
from prammol.reconstruction.loop import reconstruct
from prammol.reconstruction.observer import Observer
from prammol.reconstruction.preset import Loop, Preset
from prammol.structure.atoms import Atoms

BALL = fcc_ball(6.0)


@dataclass(frozen=True)
class Scripted:
    """A stage that always selects, and leaves the misfit of its script."""

    wrong: tuple[float, ...]
    explained: bool = False

    def __call__(self, problem, state):
        number = state.status.iteration if len(state.positions) else -1
        return altered(
            state,
            positions=BALL.copy(),
            scale=1.9,
            excess=100.0,
            wrong=self.wrong[number + 1],
            selected=True,
            explained=self.explained,
        )


SEEN: list[bool] = []


@dataclass(frozen=True)
class Watching:
    """A stage that notes whether the iteration before hardly helped."""

    def __call__(self, problem, state):
        SEEN.append(state.status.stalling)
        return state


@dataclass(frozen=True)
class Finish:
    """A stage that finds what the others can't."""

    def __call__(self, problem, state):
        return altered(state, wrong=0.1)


# 50 are then the twentieth of all atoms below which the rule applies.
PART = 0.05 * len(BALL) / 50.0


def run(*wrong, explained=False, **settings):
    data = simulate(BALL, points=12)
    stage = Scripted(tuple(PART * w for w in wrong), explained)
    plan = Preset(
        "own",
        (stage,),
        (Watching(), stage),
        (Finish(),),
        judges=True,
        control=Loop(max_iterations=6, **settings),
    )
    return reconstruct(data, support_from_truth(Atoms(BALL, "Al")), preset=plan)


@pytest.mark.parametrize(
    ("wrong", "iterations"),
    [
        ([50, 49.5, 49.4, 9, 8, 7, 6], 2),  # 1.2 % in two iterations
        ([50, 20, 19.9, 19.8, 7, 6, 5], 3),
        ([50, 51, 30, 40, 29, 29, 20], 6),  # up and down: the least counts
        ([50, 49.5, 49.1, 48.5, 48.0, 47.5, 47.0], 2),
        ([50, 49.4, 48.8, 48.2, 47.6, 47.0, 46.4], 6),  # 2.4 % in two
    ],
)
def test_two_iterations_that_hardly_help_end_the_loop(wrong, iterations):
    result = run(*wrong, least_progress=0.02)
    assert result.iterations == iterations
    stopped = iterations < 6
    assert (result.reason, result.converged) == (
        ("patience", False) if stopped else ("max_iterations", False)
    )
    assert result.history[-1]["wrong"] == 0.1, "the last stages have run"
    assert result.history[-1]["stages"].keys() == {"watching", "scripted", "finish"}
    assert result.history[-1].get("stalled", False) is stopped


def test_the_loop_goes_on_where_the_rule_is_off_or_the_data_see_nothing():
    flat = [50] * 7
    assert run(*flat).iterations == 6
    assert run(*range(50, 57)).iterations == 6
    assert run(*[51] * 7, least_progress=0.02).iterations == 6, "too many atoms are wrong"
    assert run(*flat, least_progress=0.02, explained=True).iterations == 6


@pytest.mark.parametrize(
    ("wrong", "least_progress", "stalling"),
    [
        # After the start there is nothing to compare with.
        ([50, 20, 19.9, 10, 9.9, 5, 4], 0.02, [False, False, True, False, True, False]),
        ([50, 20, 19.9, 10, 9.9, 5, 4], 0.0, [False] * 6),
        ([90, 80, 79.9, 20, 18, 16, 12], 0.02, [False] * 6),  # many are wrong where it is slow
    ],
)
def test_stages_are_told_of_an_iteration_that_hardly_helped(wrong, least_progress, stalling):
    SEEN.clear()
    run(*wrong, least_progress=least_progress)
    assert SEEN == stalling


@dataclass(frozen=True)
class Settles:
    """A stage that judges the atoms of the finish once they are at rest."""

    wrong: float

    def __call__(self, problem, state):
        assert not len(state.model.displacements)
        assert state.model.stiffness == float("inf")
        return altered(state, wrong=PART * self.wrong)


@dataclass(frozen=True)
class Warms:
    """A finish that finds atoms, and lets them move."""

    def __call__(self, problem, state):
        motion = np.full(len(BALL), 0.01)
        return altered(state, wrong=0.1, displacements=motion, stiffness=3.0)


@pytest.mark.parametrize(
    ("left", "iterations"),
    [(24.0, 6), (25.0, 2)],  # less than half of 49.4, and more
)
def test_the_loop_goes_on_from_what_the_finish_found(left, iterations):
    stage = Scripted(tuple(PART * w for w in (50, 49.5, 49.4, 20, 15, 10, 5)))
    plan = Preset(
        "own",
        (stage,),
        (stage,),
        (Warms(),),
        (Settles(left),),
        judges=True,
        control=Loop(max_iterations=6, least_progress=0.02, patience=2),
    )
    data, support = simulate(BALL, points=12), support_from_truth(Atoms(BALL, "Al"))
    result = reconstruct(data, support, preset=plan)
    assert result.iterations == iterations
    assert result.history[-1]["wrong"] == 0.1
    if iterations == 6:
        assert result.history[2]["wrong"] == PART * left
        assert not result.history[2].get("stalled", False)


@dataclass(frozen=True)
class Starts:
    """A start whose misfit follows a script, in per cent of all atoms."""

    wrong: tuple[float, ...]
    explained: bool = False

    def __call__(self, problem, state):
        wrong = 0.01 * self.wrong[state.status.start] * len(BALL)
        return altered(
            state,
            positions=BALL.copy(),
            scale=1.9,
            excess=100.0,
            wrong=wrong,
            explained=self.explained,
        )


@pytest.mark.parametrize(
    ("wrong", "tried", "explained"),
    [
        ((2.4,), 1, False),
        ((3.0, 4.8), 2, False),
        ((6.0, 7.4, 8.0), 3, False),  # a crystal for which all are poor
        ((6.0, 20.0, 20.0), 3, False),
        ((20.0, 40.0, 20.3), 3, False),  # two agree
        ((90.0, 80.0, 70.0, 60.0), 4, False),  # as many as allowed
        ((90.0,), 1, True),
    ],
)
def test_starts_are_tried_until_the_best_is_good_for_their_number(wrong, tried, explained):
    seen = []

    class Notes(Observer):
        def started(self, stage, state):
            seen.append(state.verdict.wrong)

    start, control = (Starts(wrong, explained), Watching()), Loop(starts=4, max_iterations=0)
    plan = Preset("own", start, (), control=control)
    support = support_from_truth(Atoms(BALL, "Al"))
    found = reconstruct(simulate(BALL, points=12), support, preset=plan, observer=Notes())
    assert len(seen) == tried
    assert found.history[0]["wrong"] == min(seen)


def test_more_ranks_than_planes_are_refused():
    x = fcc_ball(6.0)
    data = simulate(x, points=12)  # three patches of 12 planes
    with pytest.raises(InputError, match="37 ranks for 36 planes of points; expected at most 36"):
        reconstruct(data, support_from_truth(Atoms(x, "Al")), comm=Rank(0, 37))
