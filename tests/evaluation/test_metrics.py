"""Missing and extra atoms and errors, on cases made by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest
from cut_crystals import counts, crystal, quick

from prammol.core.errors import InputError
from prammol.evaluation.metrics import evaluate, of_staying
from prammol.evaluation.registration import register
from prammol.structure.atoms import Atoms


@pytest.fixture(scope="module")
def truth() -> np.ndarray:
    return crystal(900)


def test_normal_noise_gives_the_moments_of_maxwell(truth):
    sigma = 0.02
    noise = sigma * np.random.default_rng(1).normal(size=truth.shape)
    m = quick(truth + noise, truth)
    assert counts(m) == (0, 0)
    # Mean sigma sqrt(8/pi), mean square 3 sigma^2; the tolerance is 4 standard errors.
    n = len(truth)
    assert m.mae_pm == pytest.approx(
        100 * sigma * np.sqrt(8 / np.pi), abs=400 * sigma * np.sqrt((3 - 8 / np.pi) / n)
    )
    assert m.rmse_pm == pytest.approx(100 * sigma * np.sqrt(3), rel=4 * np.sqrt(6) / 3 / 2 / n**0.5)
    exact = np.linalg.norm(noise - noise.mean(axis=0), axis=1)
    assert m.max_error_pm == pytest.approx(100 * exact.max(), rel=1e-3)


@pytest.mark.parametrize(("removed", "added"), [(1, 0), (0, 1), (7, 3), (40, 60)])
def test_removed_and_added_atoms_are_counted(truth, removed, added):
    rng = np.random.default_rng(2)
    gone = rng.choice(len(truth), removed, replace=False)
    new = truth.mean(axis=0) + [60, 0, 0] + 3 * np.arange(added)[:, None] * [0, 1, 0]
    m = quick(np.concatenate([np.delete(truth, gone, axis=0), new]), truth)
    assert counts(m) == (removed, added)
    assert set(m.missing) == set(gone)
    assert set(m.extra) == set(range(len(truth) - removed, len(truth) - removed + added))
    assert m.n_atoms == len(truth) - removed + added
    assert m.n_true == len(truth)


def test_one_atom_moved_within_and_beyond_half_a_neighbour_distance(truth):
    moved = truth.copy()
    moved[17] += [0, 0, 1.0]
    m = quick(moved, truth)
    assert counts(m) == (0, 0)
    assert m.max_error_pm == pytest.approx(100, rel=1e-6)
    assert m.mae_pm == pytest.approx(100 / len(truth), rel=1e-6)
    assert m.rmse_pm == pytest.approx(100 / np.sqrt(len(truth)), rel=1e-6)
    moved[17] += [0, 0, 30.0]
    m = quick(moved, truth)
    assert counts(m) == (1, 1)
    assert (m.missing[0], m.extra[0]) == (17, 17)
    assert m.max_error_pm < 1e-6


def test_of_two_atoms_on_one_site_the_nearer_is_right(truth):
    m = quick(np.concatenate([truth, [truth[5] + [0.3, 0, 0]]]), truth)
    assert counts(m) == (0, 1)
    assert m.extra[0] == len(truth)
    assert m.max_error_pm < 1e-6


def test_no_atoms_found_is_all_missing(truth):
    m = evaluate(np.empty((0, 3)), truth)
    assert counts(m) == (len(truth), 0)
    assert m.summary()["mae_pm"] is None
    json.dumps(m.summary(), allow_nan=False)


def test_the_summary_has_all_promised_keys(truth):
    keys = "n_atoms n_true n_missing n_extra mae_pm rmse_pm max_error_pm resolution_angstrom"
    assert list(evaluate(truth, truth).summary()) == keys.split()


def test_atoms_that_hop_are_told_apart(truth):
    """Twenty of the surface are found elsewhere; of the rest one is missing, all are 3 pm off."""
    rng = np.random.default_rng(4)
    arm = np.linalg.norm(truth - truth.mean(axis=0), axis=1)
    hopping = np.argsort(-arm)[:20]
    motion = np.full(len(truth), 0.02)
    motion[hopping] = 0.3  # (0.95 Å)^2 in all directions; a quarter of the distance is 0.72 Å
    off = 0.03 * rng.normal(size=truth.shape) / 3**0.5
    outward = (truth - truth.mean(axis=0)) / arm[:, None]
    off[hopping] += 5.0 * outward[hopping]
    gone = np.argsort(arm)[100]
    found = np.delete(truth + off, gone, axis=0)
    warm = Atoms(truth, "Al", {"mean_square_displacement": motion})
    metrics = evaluate(Atoms(found, "Al"), warm)
    assert counts(metrics) == (21, 20)
    of = of_staying(metrics, warm)
    assert (of.n_hopping, of.n_missing_staying) == (20, 1)
    alone = np.setdiff1d(np.arange(len(truth)), [*hopping, gone])
    stay = np.setdiff1d(np.arange(len(truth)), hopping)
    expected = evaluate((truth + off)[alone], truth[stay]).resolution_angstrom
    assert of.resolution_staying_angstrom == pytest.approx(expected, rel=0.05)
    assert expected < 0.7 * metrics.resolution_angstrom
    json.dumps(of.summary(), allow_nan=False)


def test_a_truth_at_rest_says_nothing_of_hopping(truth):
    still = Atoms(truth, "Al")
    assert of_staying(quick(still, still), still) is None


def test_another_element_is_refused(truth):
    with pytest.raises(InputError, match=r"Cu.*Al"):
        evaluate(Atoms(truth, "Al"), Atoms(truth, "Cu"))


@pytest.mark.parametrize("bad", [np.zeros((3, 2)), np.full((3, 3), np.nan)])
def test_wrong_arrays_are_refused(truth, bad):
    with pytest.raises(InputError, match="found"):
        register(bad, truth)
    with pytest.raises(InputError, match="at least 2"):
        register(truth, truth[:1])
