"""pyproject.toml and environment.yml name the same packages, and the versions agree."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import version

import oldest
import pytest
import yaml
from processes import ROOT

import prammol

# conda splits some packages; these parts have no graphical toolkit, no storage plugins.
CONDA_NAMES = {"matplotlib": "matplotlib-base", "snakemake": "snakemake-minimal"}

# The wheels count updates and builds of a release in two more numbers.
CONDA_BOUNDS = {">=2025.7.22.1.0": ">=2025.7.22"}


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
    pip = {
        CONDA_NAMES.get(name, name): frozenset(CONDA_BOUNDS.get(b, b) for b in bounds)
        for name, bounds in map(parse, wanted)
    }
    pip["python"] = frozenset([project["requires-python"]])
    conda.pop("pip")
    assert conda == pip


def test_the_recipe_for_conda_forge_has_them_too(project, conda):
    recipe = yaml.safe_load((ROOT / "packaging/conda/recipe.yaml").read_text())
    found = dict(parse(r) for r in recipe["requirements"]["run"])
    names = {parse(r)[0] for r in project["dependencies"]}
    own = {CONDA_NAMES.get(name, name) for name in names} | {"python"}
    assert found == {name: bounds for name, bounds in conda.items() if name in own}
    assert set(found) == own
    assert recipe["context"]["version"] == prammol.__version__
    (script,) = project["scripts"].items()
    assert recipe["build"]["python"]["entry_points"] == [" = ".join(script)]


def test_every_dependency_has_a_lower_and_an_upper_bound(project):
    extras = project["optional-dependencies"].values()
    for requirement in [*project["dependencies"], *(r for extra in extras for r in extra)]:
        _, bounds = parse(requirement)
        assert any(b.startswith(">=") for b in bounds), requirement
        assert any(b.startswith("<") for b in bounds), requirement


def test_constraints_of_the_oldest_leg_are_the_lower_bounds(project):
    whole = tomllib.loads((ROOT / "pyproject.toml").read_text())
    found = oldest.oldest(whole)
    for requirement in project["dependencies"]:
        name, bounds = parse(requirement)
        assert f">={found[name]}" in bounds
    assert {"snakemake", "pytest", "hatchling", "cohere_core"} <= set(found)
    project["dependencies"].append("pytest>=1.0,<2")
    whole["project"] = project
    with pytest.raises(ValueError, match="pytest has the lower bounds"):
        oldest.oldest(whole)


def test_the_workflow_asks_for_the_lower_bound_of_snakemake(project):
    found = oldest.oldest({"project": project, "build-system": {"requires": []}})
    assert f'min_version("{found["snakemake"]}")' in (ROOT / "Snakefile").read_text()


def test_the_peers_of_the_benchmark_come_with_its_extra(project):
    named = {parse(requirement)[0] for requirement in project["optional-dependencies"]["bench"]}
    assert named == {"diffsim", "dynasor", "finufft"}


def test_versions_agree():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert prammol.__version__ == citation["version"]
    assert prammol.__version__ == version("prammol")
