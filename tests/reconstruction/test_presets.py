"""Presets and the settings of their stages."""

from __future__ import annotations

from dataclasses import replace

import pytest

from prammol.core.errors import InputError
from prammol.reconstruction.presets import PRESETS, get_preset
from prammol.reconstruction.setting_kinds import name_of


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
