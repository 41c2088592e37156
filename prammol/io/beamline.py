"""Beamlines of plans: those that come with the package, and a user's own in YAML or TOML."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from prammol.core.errors import InputError
from prammol.diffraction.beamline import Beamline, beamline_of
from prammol.io.atomic_write import PathLike
from prammol.io.mapping_files import read_mapping


def read_beamline(name: PathLike) -> Beamline:
    """Return a beamline by its name, ID01-EBS, 34-ID-C or NanoMAX, or read a file.

    The presets are approximate. The keys of a file are those of
    :class:`prammol.diffraction.beamline.Beamline`.

    Parameters
    ----------
    name : str or path

    Raises
    ------
    InputError
        If there is no such beamline or file, or as
        :func:`prammol.diffraction.beamline.beamline_of`.
    """
    text = str(name)
    presets = read_mapping(str(files("prammol").joinpath("data/beamlines.yaml")), "beamlines")
    if text in presets:
        return beamline_of(presets[text], text)
    if Path(text).suffix not in (".yaml", ".yml", ".toml"):
        msg = f"there is no beamline {text!r}, expected {', '.join(presets)} or a file .yaml"
        raise InputError(msg)
    return beamline_of(read_mapping(text, "a beamline"), text)
