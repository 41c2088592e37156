"""The film of a reconstruction: what it shows of a trajectory whose errors are known."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from processes import ROOT
from small_crystal import fcc_ball

from prammol.structure.atoms import Atoms

PIL_Image = pytest.importorskip("PIL.Image")

TRUTH = Atoms(fcc_ball(8.5), "Al")


@pytest.fixture
def film(monkeypatch):
    """The script, made importable."""
    monkeypatch.syspath_prepend(ROOT / "workflow" / "scripts")
    import film

    return film


def frame(x, stage="iteration", iteration=0, start=1, occupancy=None, **info):
    """Atoms x of the truth's frame as a reconstruction has them: inverted, somewhere else."""
    columns = {"occupancy": np.ones(len(x)) if occupancy is None else occupancy}
    return Atoms(
        [3.0, 1.0, -7.0] - x,
        "Al",
        columns,
        {"stage": stage, "start": start, "iteration": iteration, **info},
    )


def trajectory():
    """A start that was given up, one stage of the start that was kept, three iterations."""
    x = TRUTH.positions
    sites = np.concatenate([x, [[30.0, 0, 0], [0, 30.0, 0]]])
    weights = np.concatenate([np.ones(len(x)), [0.2, 0.7]])
    shaken = x.copy()
    shaken[::2] += [0.0, 0.04, 0.03]  # 5 pm, every other atom, so that it is no drift
    shaken[1::2] -= [0.0, 0.04, 0.03]
    return [
        frame(x[:9], "phase_patches", start=0),
        frame(sites, "phase_patches", occupancy=weights),
        frame(x[3:] + [0.2, 0, 0], log_likelihood=-5.0),  # drifted as a whole
        frame(shaken, iteration=1, log_likelihood=-2.0),
        frame(x, iteration=2, log_likelihood=-1.0),
    ]


def test_pictures_are_compared_with_the_truth(film):
    rows = [p.row() for p in film.pictures(trajectory(), TRUTH)]
    n = len(TRUTH)
    assert [r["step"] for r in rows] == [-1, 0, 1, 2]
    assert [r["atoms"] for r in rows] == [n + 1, n - 3, n, n]
    assert [r["missing"] for r in rows] == [0, 3, 0, 0]
    assert [r["extra"] for r in rows] == [1, 0, 0, 0]
    assert [r["log_likelihood"] for r in rows] == [None, -5.0, -2.0, -1.0]
    np.testing.assert_allclose([r["mae_pm"] for r in rows], [0, 0, 5, 0], atol=0.01)


def test_of_many_iterations_some_are_shown_the_first_and_the_last_among_them(film):
    many = [frame(TRUTH.positions, iteration=i, log_likelihood=-1.0 * i) for i in range(200)]
    steps = [p.step for p in film.pictures(many, TRUTH, most=12)]
    assert len(steps) == 12
    assert (steps[0], steps[-1]) == (0, 199)


@pytest.mark.parametrize("name", ["film.gif", "film.png"])
def test_the_film_has_a_picture_for_each_frame(film, tmp_path, name):
    pictures = film.pictures(trajectory(), TRUTH)
    film.write_film([tmp_path / name], pictures, TRUTH)
    with PIL_Image.open(tmp_path / name) as found:
        assert found.n_frames == len(pictures)
        shown = []
        for i in range(found.n_frames):
            found.seek(i)
            shown.append((found.info["duration"], np.asarray(found.convert("RGB"), dtype=int)))
    assert shown[-1][0] > shown[0][0]  # time to look at the result
    assert all(np.abs(a[1] - b[1]).max() > 100 for a, b in pairwise(shown))
