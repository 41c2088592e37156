"""The resolution pi / q_c against direct sums and closed forms."""

from __future__ import annotations

import numpy as np
import pytest

from prammol.core.errors import InputError
from prammol.diffraction.structure_factor import direct_structure_factor
from prammol.evaluation.resolution import (
    _phase_errors,
    fibonacci_hemisphere,
    resolution,
    structure_factor,
)


def gas(n: int, extent: float, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-extent / 2, extent / 2, (n, 3))


@pytest.mark.parametrize("q_scale", [0.5, 50.0])
def test_the_structure_factor_on_shells_is_the_direct_sum(q_scale):
    """Both ways of computing it: a transform at small q, chunks of a sum at large q."""
    x = gas(800, 30, 0)
    q = np.random.default_rng(1).normal(size=(20_000, 3)) * q_scale
    got = structure_factor(x, q)
    some = slice(0, None, 400)
    expected = np.exp(-1j * q[some] @ x.T).sum(axis=1)
    np.testing.assert_allclose(got[some], expected, atol=1e-4 * np.sqrt(len(x)))


def test_the_fibonacci_hemisphere_is_even():
    u = fibonacci_hemisphere(512)
    np.testing.assert_allclose(np.linalg.norm(u, axis=1), 1)
    # Second moments of a uniform sphere: identity / 3.
    np.testing.assert_allclose(u.T @ u / 512, np.eye(3) / 3, atol=3e-3)


def test_translated_atom_fails_where_its_phase_does():
    """One trial, all atoms shifted by d: mean over the sphere of abs(q.d) is q d / 2."""
    truth = gas(300, 20, 2)
    d = 0.05
    r = resolution([truth + np.array([0, 0, d])], truth, registered=True)
    assert r.failed
    assert r.q_c == pytest.approx(2 * 0.5 / d, rel=0.02)
    assert r.value == pytest.approx(np.pi / r.q_c)


def test_registration_removes_the_translation():
    truth = gas(300, 20, 3)
    r = resolution([truth + np.array([4, 0, 0.05])], truth, q_max=200)
    assert not r.failed
    assert r.value == pytest.approx(np.pi / 200, rel=0.15)


@pytest.mark.parametrize("sigma", [0.01, 0.1])
def test_normal_displacements_of_a_random_crystal(sigma):
    """Where F_true is speckle, the phase error has a closed form.

    With independent normal displacements F_true and F_rec are jointly circular
    normal with correlation rho = exp(-(q sigma)^2 / 2). The density of the
    phase between such a pair is known (Goodman, Speckle Phenomena in Optics);
    its mean is taken by quadrature here.
    """
    truth = gas(2000, 60, 4)
    found = truth + sigma * np.random.default_rng(5).normal(size=truth.shape)
    phase = np.linspace(0, np.pi, 4001)

    def mean_phase(rho: float) -> float:
        b = rho * np.cos(phase)
        density = (1 - rho**2) / (1 - b**2) * (1 + b * np.arccos(-b) / np.sqrt(1 - b**2))
        return float((phase * density).sum() / density.sum())

    q = np.linspace(0.01, 3, 1000) / sigma
    expected = q[np.argmax([mean_phase(np.exp(-((v * sigma) ** 2) / 2)) > 0.5 for v in q])]
    r = resolution([found], truth, registered=True)
    assert r.failed
    # 512 directions: the mean of a shell scatters by a few per cent.
    assert r.q_c == pytest.approx(expected, rel=0.1)


def test_mean_of_trials_is_better_than_one():
    truth = gas(500, 30, 6)
    rng = np.random.default_rng(7)
    trials = [truth + 0.05 * rng.normal(size=truth.shape) for _ in range(8)]
    one = resolution(trials[:1], truth, registered=True)
    all_of_them = resolution(trials, truth, registered=True)
    assert all_of_them.q_c > 1.3 * one.q_c


def test_wrong_object_fails_at_the_size_of_the_crystal():
    truth, other = gas(500, 30, 8), gas(500, 30, 9)
    r = resolution([other * [1, 0.5, 1]], truth, registered=True)
    assert r.value > 5


def test_the_first_shell_that_fails_counts_even_if_later_ones_are_good():
    truth = gas(400, 25, 10)
    r = resolution([gas(400, 25, 11)], truth, registered=True)
    bad = np.flatnonzero(r.phase_error > 0.5)
    assert r.q_c == r.q[bad[0]]
    assert (np.diff(r.q) > 0).all()


def test_a_shell_against_the_formula_by_direct_sums():
    truth = gas(200, 20, 12)
    found = truth + 0.1 * np.random.default_rng(13).normal(size=truth.shape)
    unit = fibonacci_hemisphere(64)
    got = _phase_errors([found], truth, unit, np.array([2.0]))[0]
    f, g = (np.exp(-2j * unit @ x.T).sum(axis=1) for x in (found, truth))
    assert got == pytest.approx(np.abs(np.angle(f * g.conj())).mean(), abs=1e-4)


def test_nothing_to_compare_is_refused():
    with pytest.raises(InputError, match="at least one"):
        resolution([], gas(10, 5, 14))
    with pytest.raises(InputError, match="at least one"):
        resolution([np.empty((0, 3))], gas(10, 5, 14))


@pytest.mark.parametrize(("atoms", "largest"), [(300, 2.0), (40, 80.0), (3000, 8.0)])
def test_weights_count_in_grids_and_in_direct_sums(atoms, largest):
    rng = np.random.default_rng(atoms)
    x = rng.uniform(-12, 12, (atoms, 3))
    q = rng.uniform(-largest, largest, (2000, 3))
    w = rng.uniform(0, 2, atoms)
    expected = direct_structure_factor(q, x, w)
    np.testing.assert_allclose(structure_factor(x, q, w), expected, atol=1e-4 * np.sqrt(atoms))
