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
    assert errors["mean"] == [[1e18, pytest.approx(0.2)], [1e20, 0.01]]
    assert errors["mean, slow"] == [[1e18, 2.0]]  # a trial without atoms has none
    assert resolution["slow"] == [[1e18, 0.1]]
    assert wrong["missing"] == [[1e18, 0.5], [1e20, 0.0]]
    assert wrong["both, slow"] == [[1e18, 7.0]]
    assert figure.axes[2].get_ylim()[1] >= 2 * 7


def test_a_study_is_named_by_its_preset(sweep):
    others = [{**r, "preset": "paper"} for r in PAPERS]
    assert "preset paper" in curves(sweep.figure(OURS, sweep.SWEEPS["flux"], other=others).axes[1])
    others += [{**r, "study": "third", "preset": "paper"} for r in PAPERS]  # not told apart by it
    named = curves(sweep.figure(OURS, sweep.SWEEPS["flux"], other=others).axes[1])
    assert {"slow", "third"} <= {*named}


def test_a_band_needs_more_than_two_trials(sweep):
    def bands(trials):
        rows = [row("flux", v, m, 0, 0) for v in (1e18, 1e19) for m in range(1, trials + 1)]
        return len(sweep.figure(rows, sweep.SWEEPS["flux"]).axes[0].collections)

    assert bands(2) == bands(3) == 0
    assert bands(4) == 3


def test_the_end_of_what_is_measured_is_marked(sweep):
    def remarks(resolution):
        axes = sweep.figure(
            [row("flux", v, 0.1, 0, 0, resolution) for v in (1e18, 1e20)], sweep.SWEEPS["flux"]
        ).axes[1]
        return [t.get_text() for t in axes.texts]

    assert not remarks(0.1)
    # the last shell, up to 15 % before 1000 / Å
    assert any("up to here" in text for text in remarks(0.0035785))


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
