"""What a reconstruction changes: the model, the verdict on it, where the loop stands.

A *stage* is a frozen dataclass of settings that is called with problem and state and returns
the new state. A preset is a list of stages.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from prammol.reconstruction.model import Model
from prammol.reconstruction.problem import Problem
from prammol.reconstruction.verdict import Verdict

T = TypeVar("T")


@dataclass(frozen=True)
class LoopStatus:
    """Where the loop stands.

    Attributes
    ----------
    start : int
        Number of the start, where several are tried.
    iteration : int
        Iterations finished.
    selected : bool
        Whether the current iteration changed the set of atoms.
    stalling : bool
        Whether the last iteration hardly lowered the misfit, though few atoms are wrong.
    slow : bool
        Whether the last two iterations together left most of the misfit.
    added, removed : int
        Atoms put in and taken out in the current iteration.
    earlier : bool
        Whether it began with an earlier state of the crystal.
    """

    start: int = 0
    iteration: int = 0
    selected: bool = False
    stalling: bool = False
    slow: bool = False
    added: int = 0
    removed: int = 0
    earlier: bool = False


@dataclass(frozen=True)
class State:
    """What the stages hand on.

    Attributes
    ----------
    model : Model
        The object.
    verdict : Verdict
        What the counts say about it.
    status : LoopStatus
        Where the loop stands.
    handed : tuple
        Values one stage left for a later one of the same iteration, each of a type of its own.
    """

    model: Model
    verdict: Verdict = field(default_factory=Verdict)
    status: LoopStatus = field(default_factory=LoopStatus)
    handed: tuple[object, ...] = ()

    @classmethod
    def of(cls, positions: NDArray[np.float64], scale: float) -> State:
        """Return the state of atoms, (n, 3) [Å], of which nothing else is known yet."""
        return cls(Model(positions, scale))

    @classmethod
    def empty(cls, start: int = 0) -> State:
        """Return the state before the first stage of a start."""
        return replace(cls.of(np.empty((0, 3)), 1.0), status=LoopStatus(start=start))

    @property
    def positions(self) -> NDArray[np.float64]:
        """Atoms, (n, 3) [Å]."""
        return self.model.positions

    def moved(self, positions: NDArray[np.float64]) -> State:
        """Return the state with the same atoms elsewhere, (n, 3) [Å]."""
        return replace(self, model=replace(self.model, positions=positions))

    def changed(self, positions: NDArray[np.float64], added: int = 0, removed: int = 0) -> State:
        """Return the state with a selected set of atoms, (n, 3) [Å], and what that changed."""
        status = replace(
            self.status,
            selected=True,
            added=self.status.added + added,
            removed=self.status.removed + removed,
        )
        return replace(self.moved(positions), status=status)

    def given(self, kind: type[T]) -> T | None:
        """Return the value of some type that an earlier stage of the iteration left, or None."""
        return next((value for value in self.handed if isinstance(value, kind)), None)

    def handing(self, value: object) -> State:
        """Return the state with a value for a later stage, instead of an older one of its type."""
        others = tuple(v for v in self.handed if type(v) is not type(value))
        return replace(self, handed=(*others, value))


class Stage(Protocol):
    """One step of the loop: settings in its fields, work in its call."""

    def __call__(self, problem: Problem, state: State) -> State:
        """Return the new state."""
