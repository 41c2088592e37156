"""Settings from text."""

from __future__ import annotations

import argparse

import numpy as np
import pytest

from prammol.cli.commands.common import warn_of_counts
from prammol.cli.commands.reconstruct import add_options
from prammol.cli.settings import parse_settings
from prammol.core.errors import InputError
from prammol.diffraction.bragg_patch import paper_patches
from prammol.diffraction.dataset import Diffraction
from prammol.reconstruction.preset import USER_SETTINGS
from prammol.reconstruction.presets import PRESETS, get_preset


@pytest.mark.parametrize("name", PRESETS)
def test_every_setting_is_there_with_its_value_and_a_description(name):
    preset = get_preset(name)
    settings = {s.name: s for s in preset.list_settings()}
    assert {n: s.value for n, s in settings.items()} == preset.settings()
    assert [n for n, s in settings.items() if not s.text] == []
    assert {n for n, s in settings.items() if not s.expert} == set(USER_SETTINGS) & set(settings)
    assert all(("." in n) == s.expert for n, s in settings.items())


def test_units_are_read_from_the_docstrings():
    units = {s.name: s.unit for s in get_preset("paper").list_settings()}
    assert units["generate_candidates.force"] == "eV/Å"
    assert units["fit_positions.fraction"] == ""


def test_values_keep_their_type():
    found = parse_settings(
        "paper", ["fit_positions.iterations=5", "fit_positions.fraction=1e-2", "patience=7"]
    )
    assert found == {"fit_positions.iterations": 5, "fit_positions.fraction": 0.01, "patience": 7}
    assert type(found["fit_positions.iterations"]) is int
    assert type(parse_settings("paper", ["relax_subset.cutoff=1"])["relax_subset.cutoff"]) is float


def test_parsed_settings_change_the_preset_and_only_them():
    before = get_preset("paper")
    after = before.with_settings(parse_settings("paper", ["fit_positions.iterations=5"]))
    changed = {k for k, v in after.settings().items() if v != before.settings()[k]}
    assert changed == {"fit_positions.iterations"}


def test_a_tuple_is_written_as_a_list():
    name = "orientation"
    found = parse_settings("paper", [f"{name}=[[0,1,0],[-1,0,0],[0,0,1]]"])
    assert found[name] == ((0, 1, 0), (-1, 0, 0), (0, 0, 1))


@pytest.mark.parametrize(
    ("assignment", "text"),
    [
        ("fit_positions.iteration=5", "did you mean 'fit_positions.iterations'"),
        ("patients=5", "did you mean 'patience'"),
        ("xyzzy=5", "prammol presets"),
        ("patience", "expected key=value"),
        ("patience=5.5", "should be a valid integer"),
        ("patience=five", "should be a valid integer"),
        ("patience=true", "should be a valid integer"),
        ("patience=-1", "should be greater than or equal to 1"),
        ("relax_subset.force_tolerance=nan", "should be"),
        ("relax_subset.force_tolerance=NaN", "should be"),
        ("relax_subset.force_tolerance=Infinity", "should be a finite number"),
        ("relax_subset.force_tolerance=soft", "should be a valid number"),
        ("fit_positions.fraction=0", "should be greater than 0"),
        ("fit_positions.fraction=1.5", "should be less than 1"),
        ("orientation=[1,2]", "should be a valid"),
    ],
)
def test_wrong_settings_are_refused_by_name(assignment, text):
    with pytest.raises(InputError) as error:
        parse_settings("paper", [assignment])
    assert text in str(error.value)
    assert assignment.split("=")[0] in str(error.value)


def test_unknown_preset_suggests_the_nearest():
    with pytest.raises(InputError, match="did you mean 'default'"):
        parse_settings("defualt", [])


def test_a_users_setting_stands_for_the_same_in_all_stages():
    preset = get_preset("default").with_settings(parse_settings("default", ["significance=4"]))
    found = [s.significance for s in preset.stages if hasattr(s, "significance")]
    stages = [s for s in preset.stages if hasattr(s, "significance")]
    assert len(stages) > 5
    assert found == [4.0] * len(stages)


def test_mask_flaws_is_short_for_a_setting():
    parser = argparse.ArgumentParser()
    add_options(parser)
    files = ["d.h5", "--support", "u.h5", "-o", "r.h5"]
    options = parser.parse_args([*files, "--set", "patience=2", "--mask-flaws"])
    assert parse_settings("default", options.set) == {"patience": 2, "mask_flaws": True}
    assert parser.parse_args(files).set == []


def test_flaws_are_told_in_one_sentence_before_anything_is_computed(capsys):
    patches = paper_patches(7)
    counts = [np.full(p.shape, 9.0) for p in patches]
    counts[1][3, 3, 3], counts[2][2, 2, :5] = 5e5, 65535.0
    data = Diffraction(patches, counts)
    warn_of_counts("d.h5", data, False)
    said = capsys.readouterr().err
    assert said == (
        "prammol: warning: d.h5: far brighter than all around: 1 point of patch 2 (up to 500000 "
        "counts); at one largest count: 5 points of patch 3 (65535 counts); --mask-flaws masks "
        "them\n"
    )
    warn_of_counts("d.h5", data, True)
    assert capsys.readouterr().err.endswith("they are masked\n")
    warn_of_counts("d.h5", data)
    assert capsys.readouterr().err == ""
