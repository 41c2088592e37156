"""The instrument of a simulated experiment, read from YAML."""

from __future__ import annotations

from prammol.io.atomic_write import PathLike
from prammol.io.mapping_files import read_mapping
from prammol.simulation.instrument import Instrument, instrument_of


def read_instrument(path: PathLike) -> Instrument:
    """Read the instrument of a simulated experiment.

    The keys are those of :class:`prammol.simulation.instrument.Instrument`.

    Raises
    ------
    InputError
        If the file is missing or isn't YAML, or as
        :func:`prammol.simulation.instrument.instrument_of`.
    """
    return instrument_of(read_mapping(path, "an instrument"), str(path))
