"""Who is told what a running reconstruction has done."""

from __future__ import annotations

from prammol.reconstruction.history import Record
from prammol.reconstruction.state import State


class Observer:
    """Told what happens, on all ranks; does nothing unless a method is overridden.

    An exception that a method raises ends the reconstruction.
    """

    def entered(self, stage: str, number: int, total: int) -> None:
        """Hear that a stage begins: its name, its place among those of this pass, how many."""

    def started(self, stage: str, state: State) -> None:
        """Hear of a stage of a start, except the last: the name and the state it returned."""

    def noted(self, text: str) -> None:
        """Hear of something that a user should know, a sentence."""

    def iterated(self, state: State, history: list[Record]) -> None:
        """Hear of an iteration: the state and all records so far, which is enough to resume.

        The first time is after the start, as iteration 0.
        """


class Observers(Observer):
    """Tells several observers, in order."""

    def __init__(self, *observers: Observer) -> None:
        self._observers = observers

    def entered(self, stage: str, number: int, total: int) -> None:
        """Tell all of them."""
        for observer in self._observers:
            observer.entered(stage, number, total)

    def started(self, stage: str, state: State) -> None:
        """Tell all of them."""
        for observer in self._observers:
            observer.started(stage, state)

    def noted(self, text: str) -> None:
        """Tell all of them."""
        for observer in self._observers:
            observer.noted(text)

    def iterated(self, state: State, history: list[Record]) -> None:
        """Tell all of them."""
        for observer in self._observers:
            observer.iterated(state, history)
