"""The errors a user can meet.

Every one is a sentence to act on: the command line prints it and exits with
``exit_code``. Anything else that escapes is a bug and keeps its traceback.
"""

# chosen: display
_LONGEST = 900  # characters


class PrammolError(Exception):
    """Base of all errors that are reported in one sentence, whatever a file puts into it."""

    exit_code = 2

    def __init__(self, *args: object) -> None:
        super().__init__(*(_one_line(a) if isinstance(a, str) else a for a in args))


class InputError(PrammolError, ValueError):
    """A file, an option or an argument isn't what was expected."""


class OutputExistsError(InputError):
    """An output is already there and ``--force`` was not given."""


class DataError(InputError):
    """Measured data can't determine what is asked of them."""


class PotentialError(InputError):
    """An interatomic potential is missing, unreadable or lacks the element."""


class StoppedError(PrammolError):
    """The process was asked to end (SIGTERM) and can be resumed."""

    exit_code = 143  # 128 + 15, as the shell has it


class SimulationError(PrammolError, RuntimeError):
    """LAMMPS stopped, lost atoms or returned numbers that aren't finite."""


def _one_line(text: str) -> str:
    """Return a text in one line, its middle left out if it is very long."""
    line = " ".join(text.splitlines()) if len(text.splitlines()) > 1 else text
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST // 2]} ... {line[-200:]}"
