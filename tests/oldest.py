"""Print the oldest versions that pyproject.toml allows, as constraints for pip.

``make test-oldest`` installs them: a lower bound is a version that was tested.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

PROJECT = Path(__file__).parent.parent / "pyproject.toml"


def oldest(project: dict) -> dict[str, str]:
    """Return the lower bound of each package that anything of the project asks for."""
    wanted = project["build-system"]["requires"] + project["project"]["dependencies"]
    for extra in project["project"]["optional-dependencies"].values():
        wanted = wanted + extra
    found: dict[str, str] = {}
    for requirement in wanted:
        name, version = re.match(r"([\w.-]+)>=([\w.]+)", requirement).groups()
        if found.setdefault(name, version) != version:
            msg = f"{name} has the lower bounds {found[name]} and {version}"
            raise ValueError(msg)
    return found


if __name__ == "__main__":
    for name, version in sorted(oldest(tomllib.loads(PROJECT.read_text())).items()):
        print(f"{name}=={version}")
