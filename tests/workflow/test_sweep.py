"""Fig. 4 with a second study beside the first."""

from __future__ import annotations

import pytest
from processes import ROOT


@pytest.fixture
def sweep(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "workflow" / "scripts")
    import plot_sweep as sweep

    return sweep


def row(study, value, mae, missing, extra, resolution=0.1):
    return {
        "study": study,
        "value": value,
        "mae_pm": mae,
        "rmse_pm": mae,
        "max_error_pm": mae,
        "resolution_angstrom": resolution,
        "resolution_of_condition_angstrom": None,
        "n_missing": missing,
        "n_extra": extra,
        "trials_planned": 3,
    }


OURS = [row("flux", 1e18, 0.1, 1, 2), row("flux", 1e18, 0.3, 0, 0), row("flux", 1e20, 0.01, 0, 0)]

PAPERS = [row("slow", 1e18, 2.0, 3, 4), row("slow", 1e20, None, None, None, None)]


def curves(axes):
    return {
        line.get_label(): line.get_xydata().tolist()
        for line in axes.lines
        if not line.get_label().startswith("_")
    }


def test_the_other_study_is_drawn_beside(sweep):
    figure = sweep.figure(OURS, sweep.SWEEPS["flux"], other=PAPERS)
    errors, resolution, wrong = (curves(axes) for axes in figure.axes)
    assert errors["MAE"] == [[1e18, pytest.approx(0.2)], [1e20, 0.01]]
    assert errors["MAE, slow"] == [[1e18, 2.0]]  # a trial without atoms has none
    assert resolution["slow"] == [[1e18, 0.1]]
    assert wrong["missing"] == [[1e18, 0.5], [1e20, 0.0]]
    assert wrong["both, slow"] == [[1e18, 7.0]]
    assert figure.axes[2].get_ylim()[1] >= 2 * 7


def test_alone_it_has_no_more_curves(sweep):
    figure = sweep.figure(OURS, sweep.SWEEPS["flux"])
    assert {*curves(figure.axes[2])} == {"missing", "extra"}


def test_each_study_beside_has_a_look_of_its_own(sweep):
    others = PAPERS + [row("third", 1e18, 1.0, 1, 1), row("fourth", 1e18, 1.5, 1, 1)]
    figure = sweep.figure(OURS, sweep.SWEEPS["flux"], other=others)
    for axes in figure.axes:
        named = [line for line in axes.lines if not line.get_label().startswith("_")]
        looks = {(line.get_color(), line.get_marker()) for line in named}
        assert len(looks) == len(named)
