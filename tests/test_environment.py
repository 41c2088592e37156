"""pyproject.toml and environment.yml name the same packages, and the versions agree."""

import re
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml

import prammol

ROOT = Path(__file__).parent.parent
# conda splits some packages; these parts have no graphical toolkit, no storage plugins.
CONDA_NAMES = {"matplotlib": "matplotlib-base", "snakemake": "snakemake-minimal"}


def parse(requirement: str) -> tuple[str, frozenset[str]]:
    """Name and set of version bounds of a requirement."""
    name, bounds = re.fullmatch(r"([\w.-]+)\s*(.*)", requirement).groups()
    return name, frozenset(b.strip() for b in bounds.split(",") if b.strip())


@pytest.fixture
def project():
    """The [project] table of pyproject.toml."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@pytest.fixture
def conda():
    """The packages of environment.yml with their bounds."""
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    return dict(parse(r) for r in environment["dependencies"])


def test_conda_and_pip_have_the_same_packages_and_ranges(project, conda):
    extras = project["optional-dependencies"]
    wanted = project["dependencies"] + extras["test"] + extras["workflow"]
    pip = {CONDA_NAMES.get(name, name): bounds for name, bounds in map(parse, wanted)}
    pip["python"] = frozenset([project["requires-python"]])
    conda.pop("pip")
    assert conda == pip


def test_every_dependency_has_a_lower_and_an_upper_bound(project):
    for requirement in project["dependencies"]:
        _, bounds = parse(requirement)
        assert any(b.startswith(">=") for b in bounds), requirement
        assert any(b.startswith("<") for b in bounds), requirement


def test_versions_agree():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert prammol.__version__ == citation["version"]
    assert prammol.__version__ == version("prammol")
