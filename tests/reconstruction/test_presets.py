"""Presets and the settings of their stages."""

from __future__ import annotations

from dataclasses import replace

import pytest

from prammol.core.errors import InputError
from prammol.reconstruction.presets import PRESETS, get_preset
from prammol.reconstruction.setting_kinds import name_of
from prammol.reconstruction.stages.default.choose_sites import ChooseSites
from prammol.reconstruction.stages.paper.fit_positions import FitPositions


def test_preset_paper_has_the_settings_of_the_paper():
    preset = get_preset("paper")
    settings = preset.settings()
    assert [name_of(type(s)) for s in preset.loop] == [
        "fit_positions",
        "generate_candidates",
        "cross_validate",
        "relax_subset",
    ]
    expected = {
        "patience": 100,
        "fit_positions.fraction": 0.005,
        "fit_positions.iterations": 10,
        "relax_subset.fraction": 0.5,
        "relax_subset.cutoff": 0.5,
    }
    assert {k: settings[k] for k in expected} == expected


def test_settings_are_changed_by_name():
    preset = get_preset("paper").with_settings({"patience": 7, "fit_positions.fraction": 0.1})
    assert preset.settings()["patience"] == 7
    assert preset.settings()["fit_positions.fraction"] == 0.1
    assert replace(preset.loop[0], fraction=0.005) == PRESETS["paper"].loop[0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"fit_positions.fractoin": 0.1}, "did you mean 'fit_positions.fraction'"),
        ({"patience": "long"}, "patience"),
        ({"patience": 1.5}, "patience"),
        ({"fit_positions.fraction": True}, "fit_positions.fraction"),
    ],
)
def test_wrong_settings_are_refused(changes, message):
    with pytest.raises(InputError, match=message):
        get_preset("paper").with_settings(changes)


def test_an_unknown_preset_is_refused_with_the_nearest_name():
    with pytest.raises(InputError, match="did you mean 'paper'"):
        get_preset("papre")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: FitPositions(fraction=2), "fit_positions.fraction is 2, it should be less than 1"),
        (lambda: FitPositions(iterations=2.5), "fit_positions.iterations is 2.5"),
        (lambda: ChooseSites(epsilon=1e-20), "choose_sites.epsilon is 1e-20"),
        (lambda: ChooseSites(blurs=(0.5, -1)), "choose_sites.blurs"),
        (lambda: ChooseSites(floor=float("nan")), "choose_sites.floor"),
    ],
)
def test_a_stage_made_in_python_is_checked_like_the_command_line(make, message):
    with pytest.raises(InputError) as error:
        make()
    assert message in str(error.value)


def test_a_list_is_taken_for_a_tuple_and_an_integer_for_a_number():
    stage = ChooseSites(blurs=[1, 0.5], floor=0)
    assert stage.blurs == (1.0, 0.5)
    assert stage.floor == 0.0
