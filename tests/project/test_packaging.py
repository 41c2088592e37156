"""What is handed to others: the sdist is the whole project, the wheel the package alone."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml
from installed import try_out
from processes import ROOT

import prammol
from prammol.potentials import aluminium

# What `make` needs, and what the tests read besides the package.
SHIPPED = (
    "benchmarks", "config", "docs", "packaging", "prammol", "profiles", "tests", "workflow", ".ci",
    ".dockerignore", ".github", ".snakemake-workflow-catalog.yml", "CHANGELOG.md", "CITATION.cff",
    "CONTRIBUTING.md", "environment.yml", "LICENSE", "Makefile", "pyproject.toml", "README.md",
    "Snakefile",
)  # fmt: skip


def built(kind: str, source: Path, folder: Path) -> Path:
    """Build the sdist or the wheel of a source tree, return the file."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", kind, "-d", folder]
    made = subprocess.run(
        list(map(str, command)), cwd=source, capture_output=True, text=True, check=False
    )
    assert made.returncode == 0, made.stdout + made.stderr
    (found,) = folder.iterdir()
    return found


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory):
    """The sdist, unpacked."""
    folder = tmp_path_factory.mktemp("unpacked")
    with tarfile.open(built("sdist", ROOT, tmp_path_factory.mktemp("sdist"))) as archive:
        archive.extractall(folder, filter="data")
    return folder / f"prammol-{prammol.__version__}"


@pytest.fixture(scope="module")
def wheel(unpacked, tmp_path_factory):
    """The wheel made from the sdist, as it is for PyPI."""
    return built("wheel", unpacked, tmp_path_factory.mktemp("wheel"))


def files(folder: Path, name: str) -> set[str]:
    """Names of the files below one entry of a folder, caches and built documentation left out."""
    made = ("_build", "auto_gallery", "sg_execution_times")
    whole = folder / name
    found = [whole] if whole.is_file() else whole.rglob("*")
    return {
        str(f.relative_to(folder))
        for f in found
        if f.is_file() and not any("cache" in part or part.startswith(made) for part in f.parts)
    }


@pytest.mark.parametrize("name", SHIPPED)
def test_the_sdist_is_the_whole_project(unpacked, name):
    assert files(ROOT, name)
    assert files(unpacked, name) >= files(ROOT, name)


def test_the_sdist_has_nothing_that_was_made(unpacked):
    names = {p.name for p in unpacked.rglob("*")}
    assert not names & {"__pycache__", ".git", ".venv", ".snakemake"}
    assert not (unpacked / "results").exists()


def test_all_tests_are_found_in_the_sdist(unpacked):
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider"]
    found = subprocess.run(
        command,
        cwd=unpacked,
        env={**os.environ, "PYTHONPATH": str(unpacked), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stdout + found.stderr


def test_the_wheel_is_the_package_alone(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = {n for n in archive.namelist() if not n.endswith("/")}
    inside = {n for n in names if not n.startswith(f"prammol-{prammol.__version__}.dist-info/")}
    assert inside == files(ROOT, "prammol")
    assert inside >= {
        "prammol/__init__.pyi",
        "prammol/py.typed",
        "prammol/data/settings.schema.json",
        "prammol/data/instrument.yaml",
        f"prammol/data/{Path(aluminium().file).name}",
    }


def test_the_wheel_says_what_it_is(wheel):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [n for n in archive.namelist() if n.endswith(".dist-info/METADATA")]
        said = archive.read(name).decode().split("\n\n", 1)[0].splitlines()
        assert any(n.endswith("licenses/LICENSE") for n in archive.namelist())
    assert f"Version: {prammol.__version__}" in said
    assert f"Requires-Python: {project['requires-python']}" in said
    assert {f"Classifier: {c}" for c in project["classifiers"]} <= set(said)


def test_the_pythons_named_are_those_tested():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    jobs = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())["jobs"]
    tested = {leg["python"] for leg in jobs["test"]["strategy"]["matrix"]["include"]}
    prefix = "Programming Language :: Python :: "
    versions = {c.removeprefix(prefix) for c in project["classifiers"] if c.startswith(prefix)}
    assert {v for v in versions if "." in v} == tested
    assert project["requires-python"] == ">=" + min(tested, key=lambda v: int(v.split(".")[1]))


@pytest.mark.slow
def test_an_installed_wheel_works_by_itself(wheel, tmp_path):
    try_out(wheel, tmp_path)
