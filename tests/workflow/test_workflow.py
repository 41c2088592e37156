"""The workflow: what runs, what reruns after an edit, what counts as a failure."""

from __future__ import annotations

import inspect
import json
import re
import shlex
import shutil
import subprocess
import sys
from copy import deepcopy

import numpy as np
import pytest
import yaml
from browser import Browser, program
from forking import planned
from matplotlib.text import Text
from processes import ROOT

from prammol.cli.main import build_parser
from prammol.cli.settings import parse_settings
from prammol.core.defaults import MEASUREMENT
from prammol.diffraction.support import support_from_truth
from prammol.reconstruction.presets import PRESETS

TRIAL = "results/flux/1e20/trial-01/metrics.json"

QUICK = ["max_iterations=1", "patience=5"]  # of preset paper: a second

TRIAL_RULES = {"crystal": 1, "simulate": 1, "support": 1, "reconstruct": 1, "evaluate": 1}


def snakemake(folder, *arguments):
    """Run snakemake on the workflow in a folder."""
    command = [sys.executable, "-m", "snakemake", "-s", ROOT / "Snakefile", "-d", folder]
    return subprocess.run(
        [*map(str, command), "--cores", "1", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )


def jobs(folder, *arguments):
    """Return how often each rule would run."""
    run = planned(folder, "--quiet", "rules", "--cores", "1", *arguments)
    assert run.returncode == 0, run.stdout + run.stderr
    found = re.findall(r"^(\w+) +(\d+)$", run.stdout + run.stderr, re.MULTILINE)
    return {rule: int(n) for rule, n in found if rule not in ("total", "all")}


def small(**changes):
    """Return the configuration of one quick trial, with some of it changed."""
    config = {
        "name": "test",
        "samples": {"vacancy": {"kind": "bulk", "atoms": 200, "seed": 5}},
        "measurement": {"points": 24},
        "studies": {
            "flux": {
                "kind": "flux",
                "sample": "vacancy",
                "flux": ["1e20"],
                "trials": 1,
                "preset": "paper",
                "settings": QUICK,
            }
        },
    }
    for path, value in changes.items():
        *parents, last = path.split("__")
        place = config
        for name in parents:
            place = place.setdefault(name, {})
        place[last] = value
    return config


def configured(folder, **changes):
    """Write a configuration and return the arguments that select it."""
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(small(**changes)))
    # An option after it, or it would take the targets for more files.
    return "--configfile", path, "--nocolor"


WARM = "results/temperature/300K/trial-01/metrics.json"

FIGURE = "results/figures/fig3.png"

TARGETS = (TRIAL, WARM, FIGURE)

HOT = {
    "kind": "temperature",
    "sample": "vacancy",
    "flux": "1e20",
    "temperature": [300],
    "trials": 1,
    "preset": "paper",
    "settings": QUICK,
    "dynamics": {"equilibrate": 20, "steps": 40, "every": 20},
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A folder in which a cold trial, a warm one and a figure of the cold one are finished."""
    folder = tmp_path_factory.mktemp("workflow")
    run = snakemake(folder, *configured(folder, **finished_with()), *TARGETS)
    assert run.returncode == 0, run.stdout + run.stderr
    return folder


def finished_with(**changes):
    """What the configuration of the finished folder has beyond :func:`small`."""
    return {
        "studies__temperature": deepcopy(HOT),
        "figures__example": "flux/1e20/trial-01",
        **changes,
    }


@pytest.fixture
def scripts(monkeypatch):
    """Make the scripts importable."""
    monkeypatch.syspath_prepend(ROOT / "workflow" / "scripts")


def test_the_paper_is_three_hundred_trials_and_three_crystals(tmp_path):
    count = jobs(tmp_path, "all")
    assert count["reconstruct"] == count["evaluate"] == 200 + 100 + 3
    assert count["simulate"] == 200 + 3
    assert count["simulate_warm"] == 100
    assert count["dynamics"] == 10
    assert count["crystal"] == 4
    assert {f"draw_fig{n}" for n in range(2, 9)} <= count.keys()


def test_one_trial_is_one_target_also_at_a_flux_that_is_not_listed(tmp_path):
    assert jobs(tmp_path, "results/flux/1e18/trial-03/metrics.json") == TRIAL_RULES


def test_three_thousand_trials_are_as_many_jobs_as_there_are_batches(tmp_path):
    flux = [f"{n}e17" for n in range(10, 50)]
    arguments = configured(tmp_path, studies__flux__flux=flux, studies__flux__trials=75)
    count = jobs(tmp_path, "results/batches/flux.done", *arguments)
    assert count == {"crystal": 1, "batch": 3000 // 20, "batches_of_study": 1}
    arguments = configured(tmp_path, batch=7, studies__temperature={**HOT, "trials": 15})
    count = jobs(tmp_path, "results/batches/temperature.done", *arguments)
    assert count == {"crystal": 1, "dynamics": 1, "batch": 3, "batches_of_study": 1}


def test_a_state_of_a_series_starts_from_the_one_before(tmp_path):
    series = {"kind": "series", "sample": "vacancy", "flux": "1e18", "states": 4, "change": -5}
    arguments = configured(tmp_path, studies__series={**series, "trials": 1})
    count = jobs(tmp_path, *arguments, "results/series/state-02/trial-01/metrics.json")
    own = {"first_state": 1, "next_state": 2, "simulate": 3, "support": 3, "reconstruct": 3}
    assert count == {"crystal": 1, **own, "evaluate": 1}
    whole = jobs(tmp_path, *arguments, "results/figures/series.png")
    assert whole["reconstruct"] == whole["evaluate"] == 4
    assert whole["draw_series"] == 1


def test_one_warm_trial_needs_one_trajectory(tmp_path):
    count = jobs(tmp_path, "results/temperature/300K/trial-03/metrics.json")
    assert count["dynamics"] == count["simulate_warm"] == count["reconstruct"] == 1


def test_a_flux_by_another_name_is_refused(tmp_path):
    run = planned(tmp_path, "results/flux/100e16/trial-03/metrics.json")
    assert run.returncode != 0
    assert "expected for example 1e18" in run.stdout + run.stderr


def test_a_result_that_has_not_converged_is_a_result(finished):
    assert json.loads((finished / WARM).read_text())["converged"] is False


@pytest.mark.usefixtures("scripts")
@pytest.mark.skipif(program() is None, reason="no Chromium")
def test_the_report_opens_on_the_figures_and_their_captions(finished, tmp_path):
    from report_page import open_on_figures

    page = tmp_path / "report.html"
    arguments = configured(finished, **finished_with())
    run = snakemake(finished, *arguments, "--report", page, "--", FIGURE)
    assert run.returncode == 0, run.stdout + run.stderr
    open_on_figures(page, ROOT / "workflow/report/opening.js")
    with Browser(tmp_path / "profile", 1200, 800) as browser:
        browser.open(page, "")
        shown = browser.run("fetch(document.querySelector('iframe').src).then(r => r.text())")
    assert re.findall(r"<img src=.data:image/(\w+)", shown) == ["png"]
    assert "Reconstructions of every atom" in shown
    caption = (ROOT / "workflow/report/fig3.rst").read_text().split()[:4]
    assert " ".join(caption) in shown


def test_any_other_exit_code_is_a_failure(finished, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(finished, folder)  # with the crystal, its counts and its support
    arguments = configured(folder, studies__flux__settings=["no_such_setting=1"])
    run = snakemake(folder, *arguments, TRIAL)
    assert run.returncode != 0
    assert "Error in rule reconstruct" in run.stderr
    log = folder / "results/logs/flux/1e20/trial-01/reconstruct.log"
    assert "no_such_setting" in log.read_text()
    assert "no_such_setting" in (folder / "results/trials.html").read_text()


ONE = {"reconstruct": 1, "evaluate": 1}

ONE_LATER = {"support": 1, **ONE}

ALL_LATER = {"support": 2, "reconstruct": 2, "evaluate": 2}


@pytest.mark.parametrize(
    ("changes", "count"),
    [
        ({}, {}),
        ({"studies__flux__settings": ["max_iterations=2"]}, {"draw_fig3": 1, **ONE}),
        ({"studies__flux__preset": "default"}, {"draw_fig3": 1, **ONE}),
        ({"studies__temperature__preset": "default"}, ONE),
        ({"support": {"resolution": 6}}, {"draw_fig3": 1, **ALL_LATER}),
        (
            {"measurement__points": 26},
            {"simulate": 1, "dynamics": 1, "simulate_warm": 1, "draw_fig3": 1, **ALL_LATER},
        ),
        (
            {"measurement__wavelength": 1.3},
            {"simulate": 1, "simulate_warm": 1, "draw_fig3": 1, **ALL_LATER},
        ),
        (
            {"seed": 1},
            {"simulate": 1, "dynamics": 1, "simulate_warm": 1, "draw_fig3": 1, **ALL_LATER},
        ),
        (
            {"samples__vacancy__atoms": 210},
            {
                "crystal": 1,
                "simulate": 1,
                "dynamics": 1,
                "simulate_warm": 1,
                "draw_fig3": 1,
                **ALL_LATER,
            },
        ),
        (
            {"studies__temperature__dynamics__steps": 60},
            {"dynamics": 1, "simulate_warm": 1, **ONE_LATER},
        ),
        ({"studies__temperature__flux": "1e19"}, {"simulate_warm": 1, **ONE_LATER}),
        ({"figures__example": "temperature/300K/trial-01"}, {"draw_fig3": 1}),
        (
            {
                "studies__flux__trials": 5,
                "studies__flux__flux": ["1e20", "1e19"],
                "studies__temperature__temperature": [300, 400],
                "samples__other": {"kind": "bulk"},
                "figures__temperatures": [200],
            },
            {},
        ),
    ],
)
def test_an_edit_reruns_only_what_depends_on_it(finished, changes, count):
    arguments = configured(finished, **finished_with(**changes))
    assert jobs(finished, *arguments, *TARGETS) == count


def test_more_ranks_rerun_nothing(finished):
    arguments = configured(finished, **finished_with())
    ranks = ["--set-threads", "reconstruct=2", "dynamics=2", "--cores", "2"]
    assert jobs(finished, *arguments, *TARGETS, *ranks) == {}


@pytest.mark.parametrize(("cores", "ranks"), [("1", "1"), ("2", "2")])
def test_a_trial_has_never_more_ranks_than_there_are_cores(tmp_path, cores, ranks):
    """Snakemake starts jobs of no more threads than cores; ranks are threads, each has one."""
    more = ["--set-threads", "reconstruct=2"]
    run = planned(tmp_path, *configured(tmp_path), TRIAL, "--cores", cores, *more)
    assert run.returncode == 0, run.stdout + run.stderr
    assert re.findall(r"Reconstruct on (\d+) ranks", run.stdout + run.stderr) == [ranks]


def test_results_of_another_configuration_are_not_replaced(finished):
    run = planned(finished, *configured(finished, name="other"), TRIAL)
    assert run.returncode != 0
    assert "results/ holds the results of configuration 'test'" in run.stdout + run.stderr


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"studies__flux__preset": "best"}, "best"),
        ({"studies__flux__sample": "gold"}, "gold"),
        ({"studies__flux__flux": []}, "flux"),
        ({"measurement__pionts": 40}, "pionts"),
    ],
)
def test_a_wrong_configuration_is_refused(tmp_path, changes, complaint):
    run = planned(tmp_path, *configured(tmp_path, **changes), TRIAL)
    assert run.returncode != 0
    assert complaint in run.stdout + run.stderr


def test_what_is_not_configured_is_the_default_of_the_command_line(tmp_path):
    config = small()
    del config["measurement"]
    other = {"sample": "vacancy", "flux": "1e20", "trials": 1}
    config["studies"]["warm"] = {"kind": "temperature", "temperature": [300], **other}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    target = "results/warm/300K/trial-01/support.h5"
    targets = [target, target.replace("support.h5", "reconstruction.h5"), TRIAL]
    arguments = ["--configfile", tmp_path / "config.yaml", "--nocolor"]
    ran = planned(tmp_path, "-p", *targets, *arguments)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    parser = build_parser()
    assert f" --wavelength {MEASUREMENT['wavelength']} " in ran.stdout + ran.stderr
    dynamics = parser.parse_args(["dynamics", "s", "--temperature", "300", "-o", "a"])
    for name in ("points", "equilibrate", "steps", "every", "timestep"):
        assert f" --{name} {getattr(dynamics, name)} " in ran.stdout + ran.stderr, name
    reconstruct = parser.parse_args(["reconstruct", "d", "--support", "u", "-o", "r"])
    assert f" --preset {reconstruct.preset} " in ran.stdout + ran.stderr
    resolution = inspect.signature(support_from_truth).parameters["resolution"].default
    assert f" --resolution {resolution} " in ran.stdout + ran.stderr


def test_the_film_is_of_the_trial_itself(tmp_path):
    """Its reconstruction has all options of the trial's, those of another metal included."""
    potential = {"file": "W_zhou.eam.alloy", "mass": 183.8}
    arguments = configured(tmp_path, samples__vacancy__potential=potential)
    targets = [TRIAL.replace("metrics.json", name) for name in ("metrics.json", "trajectory.xyz")]
    ran = planned(tmp_path, "-p", *targets, *arguments)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    commands = re.findall(r"-m prammol (reconstruct .*?) > ", ran.stdout + ran.stderr)
    parser = build_parser()
    trial, film = (vars(parser.parse_args(shlex.split(c))) for c in sorted(commands, key=len))
    assert trial["potential"] == "W_zhou.eam.alloy"
    assert trial["set"] == QUICK
    assert film["trajectory"] is not None
    differ = {name for name in trial if trial[name] != film[name]}
    assert differ == {"output", "trajectory", "resume"}


def test_the_film_of_a_warm_trial_shows_distances_from_the_mean_positions(tmp_path):
    arguments = configured(
        tmp_path, studies__temperature=deepcopy(HOT), figures__example="temperature/300K/trial-01"
    )
    ran = planned(tmp_path, "results/figures/film.png", *arguments)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    needs = re.search(r"Film of a reconstruction\n(.*)", ran.stdout + ran.stderr)[1]
    assert "results/temperature/300K/mean.xyz" in needs
    assert "results/samples" not in needs


def test_the_catalogue_of_workflows_is_told_what_the_rules_offer():
    said = yaml.safe_load((ROOT / ".snakemake-workflow-catalog.yml").read_text())["usage"]
    rules = "".join(p.read_text() for p in [ROOT / "Snakefile", *ROOT.glob("workflow/rules/*.smk")])
    offered = said["software-stack-deployment"]
    assert offered["conda"] == bool(re.search(r"^ +conda:$", rules, re.MULTILINE))
    containers = bool(re.search(r"^ *(container|containerized):", rules, re.MULTILINE))
    assert offered["apptainer"] == offered["apptainer+conda"] == containers


def test_a_default_is_written_down_once():
    schema = yaml.safe_load((ROOT / "workflow/schemas/config.schema.yaml").read_text())
    study = schema["properties"]["studies"]["additionalProperties"]
    shared = "../../prammol/data/settings.schema.json#/$defs/"
    assert schema["properties"]["measurement"]["$ref"] == shared + "measurement"
    assert schema["properties"]["support"]["$ref"] == shared + "support"
    assert study["properties"]["dynamics"]["$ref"] == shared + "dynamics"
    assert {"$ref": shared + "reconstruction"} in study["allOf"]


@pytest.mark.parametrize("name", ["config.yaml", "smoke.yaml"])
def test_every_setting_that_is_configured_exists(name):
    studies = yaml.safe_load((ROOT / "config" / name).read_text())["studies"]
    for study in studies.values():
        parse_settings(study.get("preset", "default"), study.get("settings", []))


def test_every_preset_can_be_configured():
    schema = json.loads((ROOT / "prammol/data/settings.schema.json").read_text())
    preset = schema["$defs"]["reconstruction"]["properties"]["preset"]
    assert preset["enum"] == list(PRESETS)


def rows(values, planned=6):
    """Return rows of a table: three trials at each value with errors v, 2 v and 6 v."""
    return [
        {
            "condition": f"{v:g}",
            "value": v,
            "trial": i,
            "mae_pm": f * v,
            "rmse_pm": f * v,
            "max_error_pm": f * v,
            "resolution_angstrom": f * v,
            "resolution_of_condition_angstrom": v,
            "n_missing": i,
            "n_extra": 0,
            "trials_planned": planned,
        }
        for v in values
        for i, f in enumerate((1, 2, 6))
    ]


@pytest.mark.usefixtures("scripts")
def test_a_sweep_shows_trials_medians_and_the_threshold():
    from plot_sweep import SWEEPS, figure

    axes = figure(rows([1e17, 1e18]), SWEEPS["flux"]).axes[0]
    lines = [np.asarray(line.get_xydata(), dtype=float) for line in axes.lines]
    assert any(np.array_equal(xy, [[1e17, 2e17], [1e18, 2e18]]) for xy in lines)
    assert any(np.array_equal(xy[:, 1], [1e17, 2e17, 6e17]) for xy in lines)
    assert any((xy[:, 0] == 1e18).all() for xy in lines)


@pytest.mark.usefixtures("scripts")
def test_a_figure_says_how_many_trials_are_missing():
    from plot_sweep import SWEEPS, figure

    def texts(table):
        return [t.get_text() for t in figure(table, SWEEPS["temperature"]).findobj(Text)]

    assert not any("planned" in t for t in texts(rows([100, 200])))
    assert "6 of 10 planned trials" in texts(rows([100, 200], planned=10))


@pytest.mark.usefixtures("scripts")
def test_tables_keep_numbers_and_what_is_unknown(tmp_path):
    from table_files import read_table, write_table

    table = [{"condition": "bulk", "value": None, "mae_pm": 0.25, "converged": False}]
    write_table(tmp_path / "t.csv", table)
    assert read_table(tmp_path / "t.csv") == table
    numbers = [{"value": 1e13, "commit": "1234567"}, {"value": 2e13, "commit": "12e4567"}]
    write_table(tmp_path / "t.csv", numbers)
    assert read_table(tmp_path / "t.csv") == numbers


@pytest.mark.usefixtures("scripts")
def test_a_table_says_of_older_trials_what_is_known(monkeypatch):
    import table_files as tables

    monkeypatch.setattr(tables, "commit", lambda: "1234567")
    made = {"date": "2026-01-31T10:00:00+00:00"}
    command = "snakemake results/flux/trials.csv"
    row = tables.origin_of("results/flux/trials.csv", made)
    assert row == {"commit": "<=1234567", "date": "2026-01-31", "command": command}
    row = tables.origin_of("results/flux/trials.csv", made | {"commit": "7654321"})
    assert row["commit"] == "7654321"
    assert tables.origin_of("x", {})["date"] == "unknown"
    assert tables.origin_of("results/flux/bounds.csv")["commit"] == "1234567"
