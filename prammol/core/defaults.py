"""Defaults of the settings that the command line, the functions and the workflow share.

They are written down in ``data/settings.schema.json`` and nowhere else; the schema of the
workflow's configuration refers to that file.
"""

import json
from importlib.resources import files
from typing import Any


def _defaults(section: str) -> dict[str, Any]:
    properties = _SCHEMA["$defs"][section]["properties"]
    return {name: setting["default"] for name, setting in properties.items()}


_SCHEMA = json.loads(files("prammol").joinpath("data/settings.schema.json").read_text("utf-8"))
# Standard deviations of the geometry of a patch where a file doesn't say [1/Å, rad].
# chosen: about 0.3 % of a {111} Bragg vector of aluminium, steps of a rocking scan; not varied
GEOMETRY = {"offset": 0.008, "rotation": 1e-3}
# Standard deviation of the prior of a fitted blur [steps of the grid].
# derived: a grid that holds the intensity has blurs of about a step, or nothing is left of fringes
FIT_BLUR = 1.0
MEASUREMENT = _defaults("measurement")
FORM_FACTORS: list[str] = _SCHEMA["$defs"]["measurement"]["properties"]["form_factor"]["enum"]
SUPPORT = _defaults("support")
RECONSTRUCTION = _defaults("reconstruction")
DYNAMICS = _defaults("dynamics")
