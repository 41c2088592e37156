"""Registration of two crystals, on cases made by hand."""

from __future__ import annotations

import numpy as np
import pytest
from cut_crystals import A, counts, crystal, quick
from scipy.spatial import cKDTree

from prammol.evaluation.registration import match, neighbour_distance, register


@pytest.fixture(scope="module")
def truth() -> np.ndarray:
    return crystal(900)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("shift", [(0, 0, 0), (100, -3, 7), (A / 2, A / 2, 0), (0.7, 0.1, -A)])
def test_translation_and_inversion_cost_nothing(truth, sign, shift):
    m = quick(sign * truth + shift, truth)
    assert counts(m) == (0, 0)
    assert m.max_error_pm < 1e-9
    assert m.registration.inverted == (sign < 0)
    np.testing.assert_allclose(m.registration.translation, -sign * np.array(shift), atol=1e-9)
    np.testing.assert_allclose(m.positions, truth, atol=1e-9)


@pytest.mark.parametrize("sign", [1, -1])
def test_a_lattice_translation_with_a_thin_layer_changed_is_undone(truth, sign):
    """A lattice vector away and one surface layer of atoms gone."""
    keep = truth[:, 0] < truth[:, 0].max() - 4
    gone = int((~keep).sum())
    assert gone > 5
    m = quick(sign * (truth[keep] + [A / 2, -A / 2, 0]), truth)
    assert counts(m) == (gone, 0)
    assert set(m.missing) == set(np.flatnonzero(~keep))
    assert m.max_error_pm < 1e-9


def test_a_third_of_the_atoms_may_be_missing_on_one_side():
    truth = crystal(3000, seed=3)
    keep = np.argsort(truth @ [1.0, 0.4, 0.2])[:2100]
    m = quick(-truth[keep] + [A, 0, 0], truth)
    # Inside the crystal any lattice translation matches all; only atoms of the
    # other sides tell which is right.
    assert counts(m) == (900, 0)
    assert m.max_error_pm < 1e-9


def test_a_third_of_the_surface_may_be_wrong_both_ways():
    whole = crystal(3000, seed=4)
    rng = np.random.default_rng(5)
    reach = np.linalg.norm(whole - whole.mean(axis=0), axis=1)
    shell = rng.permutation(np.argsort(reach)[2100:])
    m = quick(
        -np.delete(whole, shell[:300], axis=0) - 3.3, np.delete(whole, shell[300:600], axis=0)
    )
    assert counts(m) == (300, 300)
    assert m.max_error_pm < 1e-9


def best_by_brute_force(found: np.ndarray, truth: np.ndarray, tolerance: float) -> float:
    """Try every translation that lays one inner atom on a true one, both ways up."""
    best = 0.0
    tree = cKDTree(truth)
    for x in (found, -found):
        inner = x[np.linalg.norm(x - x.mean(axis=0), axis=1).argmin()]
        for shift in truth - inner:
            distance, _ = tree.query(x + shift, distance_upper_bound=tolerance)
            near = distance[np.isfinite(distance)]
            best = max(best, float((1 - (near / tolerance) ** 2).sum()))
    return best


@pytest.mark.parametrize("seed", range(4))
def test_no_translation_is_better(seed):
    """Up to 30 % missing on one side, up to 20 % extra: against an exhaustive search."""
    rng = np.random.default_rng(seed)
    whole = crystal(480, seed)
    truth = whole[:400]
    side = np.linalg.norm(truth - truth.mean(axis=0), axis=1) + truth @ rng.normal(size=3) / 2
    kept = truth[np.argsort(side)[: int(rng.uniform(280, 400))]]
    found = np.concatenate([kept, whole[400:][rng.random(80) < rng.random()]])
    found = (-1) ** seed * (found + 0.05 * rng.normal(size=found.shape)) + 50 * rng.normal(size=3)
    r = register(found, truth)
    tolerance = neighbour_distance(truth) / 2
    pairs = r.partner >= 0
    distance = np.linalg.norm(r.apply(found)[pairs] - truth[r.partner[pairs]], axis=1)
    score = (1 - (distance / tolerance) ** 2).sum()
    assert score >= best_by_brute_force(found, truth, tolerance) - 1e-6 * len(found)


def test_the_order_of_atoms_does_not_matter(truth):
    order = np.random.default_rng(3).permutation(len(truth))
    m = quick(truth[order], truth)
    assert counts(m) == (0, 0)
    assert m.max_error_pm < 1e-9
    np.testing.assert_array_equal(m.truth_index, order[m.found_index])


def test_matching_is_one_to_one_and_gives_the_loser_the_next_best():
    truth = np.array([[0.0, 0, 0], [1.0, 0, 0]])
    found = np.array([[0.4, 0, 0], [0.1, 0, 0]])
    np.testing.assert_array_equal(match(found, truth, 0.7), [1, 0])
    np.testing.assert_array_equal(match(found, truth, 0.5), [-1, 0])


def test_the_neighbour_distance_of_fcc(truth):
    assert neighbour_distance(truth) == pytest.approx(A / np.sqrt(2))
