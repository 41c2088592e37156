"""The profiles: what can be checked without a SLURM."""

from __future__ import annotations

import re

import pytest
import yaml
from forking import planned
from processes import ROOT

PROFILES = ROOT / "profiles"

# All Snakemakes of the range in pyproject.toml read this name; from 9.19 on profile.yaml, too.
NAME = "config.v9+.yaml"


def settings(name):
    return yaml.safe_load((PROFILES / name / NAME).read_text())


def test_every_profile_is_one_file():
    """With two, it would depend on the version of Snakemake which is read."""
    for profile in PROFILES.iterdir():
        assert [f.name for f in profile.iterdir()] == [NAME]


def test_one_rank_differs_only_in_the_trials():
    several, one = settings("slurm"), settings("slurm-one-rank")
    of_trials = {"set-threads", "set-resources"}
    assert {k: v for k, v in several.items() if k not in of_trials} == {
        k: v for k, v in one.items() if k not in of_trials
    }


def test_threads_and_tasks_are_the_same_number_of_ranks():
    profile = settings("slurm")
    for rule, ranks in profile["set-threads"].items():
        assert profile["set-resources"][rule]["tasks"] == ranks > 1


@pytest.mark.parametrize(("name", "ranks"), [("local", 1), ("slurm", 4), ("slurm-one-rank", 1)])
def test_trials_of_a_profile_get_its_cores(tmp_path, name, ranks):
    run = planned(tmp_path, "--profile", PROFILES / name, "results/flux/1e18/trial-01/metrics.json")
    assert run.returncode == 0, run.stdout + run.stderr
    assert re.search(rf"Reconstruct on {ranks} ranks", run.stdout + run.stderr)
    assert not re.search(r"warning|deprecated", run.stdout + run.stderr, re.IGNORECASE)
