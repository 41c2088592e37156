"""Means over pixels and dynamics against closed forms and dense sums."""

from __future__ import annotations

import numpy as np
import pytest

from prammol.core.errors import InputError
from prammol.diffraction.structure_factor import direct_structure_factor
from prammol.simulation.pixel_average import blur_rule, mean_intensity

STEP = np.array([[0.06, 0.01, 0.0], [0.0, 0.05, 0.01], [0.01, 0.0, 0.07]])
POINT = (np.array([0.0]), np.array([1.0]))


@pytest.mark.parametrize("box", [0.0, 0.4, 1.0, 2.0])
@pytest.mark.parametrize("sigma", [0.0, 0.3, 0.8])
def test_a_rule_gives_the_mean_of_every_wave(box, sigma):
    nodes, weights = blur_rule(box, sigma, 3.0)
    k = np.linspace(0, 3.0, 50)
    true = np.sinc(k * box / (2 * np.pi)) * np.exp(-0.5 * (k * sigma) ** 2)
    found = np.exp(1j * k[:, None] * nodes) @ weights
    np.testing.assert_allclose(found, true, atol=2e-4)
    assert weights.sum() == pytest.approx(1, abs=1e-12)
    assert len(nodes) <= 12


def test_a_blur_beyond_the_rule_is_refused():
    with pytest.raises(InputError, match="too wide for a crystal with fringes"):
        blur_rule(1.0, 5.0, 100.0)


def grid(offset, n=3):
    index = np.indices((n, n, n)).transpose(1, 2, 3, 0) + offset
    q = np.array([1.5, -1.5, 1.5]) + index @ STEP
    return q, 1.0 + 0.1 * q[..., 0]


def test_atoms_at_rest_over_a_pixel_are_a_dense_sum(rng):
    x = rng.uniform(-12, 12, (30, 3))
    rules = [blur_rule(b, s, 2.5) for b, s in ((1.0, 0.0), (0.8, 0.3), (1.0, 0.4))]
    found = mean_intensity([x], grid, rules)

    total = np.zeros((3, 3, 3))
    draws = []
    for b, s in ((1.0, 0.0), (0.8, 0.3), (1.0, 0.4)):
        t = np.linspace(-2.5, 2.5, 61) if s else np.linspace(-b / 2, b / 2, 62)
        t = (t[1:] + t[:-1]) / 2
        fine = np.linspace(-b / 2, b / 2, 400)
        weight = np.exp(-0.5 * ((t[:, None] - fine) / s) ** 2).sum(axis=1) if s else np.ones(len(t))
        draws.append((t, weight / weight.sum()))
    # One axis after the other: some of the 61^3 sub-points, drawn by their weight.
    for _ in range(1500):
        q, factor = grid(np.array([rng.choice(t, p=w) for t, w in draws]))
        total += factor * np.abs(direct_structure_factor(q.reshape(-1, 3), x).reshape(3, 3, 3)) ** 2
    np.testing.assert_allclose(found, total / 1500, rtol=0.08)
    q, factor = grid(np.zeros(3))
    sharp = factor * np.abs(direct_structure_factor(q.reshape(-1, 3), x).reshape(3, 3, 3)) ** 2
    assert np.abs(found / sharp - 1).max() > 0.5


@pytest.mark.parametrize("coherent", [False, True])
def test_moving_atoms_are_the_closed_form(rng, coherent):
    """Independent Gaussian motion: |<F>|^2 has the Debye-Waller factor, <|F|^2> the rest, too."""
    x, u = rng.uniform(-8, 8, (12, 3)), 0.05
    snapshots = [x + rng.normal(0, u**0.5, x.shape) for _ in range(700)]
    rules = [blur_rule(1.0, 0.0, 1.0)] * 3
    found = mean_intensity(snapshots, grid, rules, coherent)

    def closed(offset):
        q, factor = grid(offset)
        fall = np.exp(-u * (q**2).sum(axis=-1))
        still = np.abs(direct_structure_factor(q.reshape(-1, 3), x).reshape(3, 3, 3)) ** 2
        return factor * (fall * still + (0 if coherent else len(x) * (1 - fall)))

    t, w = np.polynomial.legendre.leggauss(6)
    true = sum(
        a * b * c / 8 * closed(np.array([i, j, k]) / 2)
        for i, a in zip(t, w, strict=True)
        for j, b in zip(t, w, strict=True)
        for k, c in zip(t, w, strict=True)
    )
    np.testing.assert_allclose(found, true, atol=0.15 * true.mean())


def test_without_a_blur_all_snapshots_count_alike(rng):
    snapshots = [rng.uniform(-8, 8, (5, 3)) for _ in range(7)]
    q, factor = grid(np.zeros(3))
    f = np.array([direct_structure_factor(q.reshape(-1, 3), x) for x in snapshots])
    found = mean_intensity(snapshots, grid, [POINT] * 3)
    np.testing.assert_allclose(found, factor * (abs(f) ** 2).mean(axis=0).reshape(3, 3, 3))
