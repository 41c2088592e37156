"""Background counts in the Poisson mean: everywhere the mean is, against plain sums."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
from numpy.testing import assert_allclose
from on_background import SCALE, few_atoms
from scipy.optimize import minimize_scalar
from small_crystal import fcc_ball, make_problem

from prammol.core.parallel import Communicator
from prammol.diffraction.bragg_patch import paper_patches
from prammol.diffraction.dataset import Diffraction, local_shard
from prammol.diffraction.structure_factor import StructureFactor, direct_structure_factor
from prammol.likelihood.atom_gains import single_atom_gains
from prammol.likelihood.difference_map import difference_map
from prammol.likelihood.extra_photons import EXTRA
from prammol.likelihood.poisson import poisson_log_likelihood, poisson_scale, residual_weights
from prammol.likelihood.quasi_likelihood import PoissonMisfit
from prammol.reconstruction.stages.paper.fit_positions import NegativeLogLikelihood
from prammol.reconstruction.stages.paper.grid_likelihood import GridLikelihood

SERIAL = Communicator()


@pytest.fixture
def data(rng):
    """A few atoms, weak against a background that varies over each patch; some points masked."""
    return few_atoms(rng)


@pytest.fixture
def case(data, rng):
    x, measured = data
    shard = local_shard(measured, SERIAL)
    return x + rng.normal(scale=0.1, size=x.shape), measured, shard


class OneOfSeveral(Communicator):
    """One rank of several, without MPI."""

    def __init__(self, rank, size):
        super().__init__()
        self._rank, self._size = rank, size

    rank = property(lambda self: self._rank)
    size = property(lambda self: self._size)


@pytest.mark.parametrize("size", [1, 3, 40])
def test_shares_of_all_ranks_joined_are_the_whole(data, size):
    """Also where a rank owns nothing; what is masked has no background."""
    _, measured = data
    shards = [local_shard(measured, OneOfSeveral(r, size)) for r in range(size)]
    joined = np.concatenate([s.background for s in shards])
    pairs = zip(measured.background, measured.valid, strict=True)
    assert_allclose(joined, np.concatenate([np.where(v, b, 0).ravel() for b, v in pairs]))
    assert all(len(s.background) == s.size for s in shards)


def seen(measured):
    """Counts, background and q of the valid points, straight from the patches."""
    v = np.concatenate([v.ravel() for v in measured.valid])
    counts = np.concatenate([c.ravel() for c in measured.counts])[v]
    background = np.concatenate([b.ravel() for b in measured.background])[v]
    return counts, background, np.concatenate([p.q() for p in measured.patches])[v]


def power(q, x, weights=None):
    return np.abs(direct_structure_factor(q, x, weights)) ** 2


def test_the_log_likelihood_is_that_of_scipy_up_to_the_factorials(case):
    x, measured, shard = case
    counts, background, q = seen(measured)
    expected = scipy.stats.poisson.logpmf(counts, SCALE**2 * power(q, x) + background).sum()
    expected += scipy.special.gammaln(counts + 1).sum()
    omega = StructureFactor(shard.patches, 1e-13).forward(x)[shard.valid]
    got = poisson_log_likelihood(
        shard.counts[shard.valid], omega, SCALE, SERIAL, shard.background_at(shard.valid)
    )
    assert_allclose(got, expected, rtol=1e-9)


def test_gradients_of_the_likelihood_by_finite_differences(case, rng):
    x, measured, shard = case
    counts, background, q = seen(measured)
    w = rng.uniform(0.5, 1.2, len(x))

    def value(y, weights):
        lam = SCALE**2 * power(q, y, weights) + background
        return np.sum(lam - counts * np.log(lam))

    factor = StructureFactor(shard.patches, 1e-13)
    field = np.zeros(factor.size, dtype=complex)
    v = shard.valid
    omega = factor.forward(x, w)[v]
    field[v] = residual_weights(shard.counts[v], omega, SCALE, shard.background_at(v))
    d_x = -2 * w[:, None] * factor.adjoint_moments(field, x).imag
    d_w = 2 * factor.adjoint(field, x).real
    step = 1e-5
    for j in (0, 5, 11):
        for axis in range(3):
            y, z = x.copy(), x.copy()
            y[j, axis] += step
            z[j, axis] -= step
            assert_allclose(d_x[j, axis], (value(y, w) - value(z, w)) / (2 * step), rtol=1e-5)
        up, down = w.copy(), w.copy()
        up[j] += step
        down[j] -= step
        assert_allclose(d_w[j], (value(x, up) - value(x, down)) / (2 * step), rtol=1e-5)


def test_fitted_positions_minimise_that_likelihood(case):
    x, measured, shard = case
    problem = make_problem(measured, x=x)
    points = np.arange(shard.size) % 3 > 0
    objective = NegativeLogLikelihood(problem, points, SCALE)
    counts, background, q = seen(measured)
    chosen = points[shard.valid]
    lam = (SCALE**2 * power(q, x) + background)[chosen]
    value, gradient = objective(x.ravel())
    assert_allclose(value, np.sum(lam - counts[chosen] * np.log(lam)), rtol=1e-8)
    step = np.zeros(x.size)
    step[7] = 1e-5
    slope = (objective(x.ravel() + step)[0] - objective(x.ravel() - step)[0]) / 2e-5
    assert_allclose(gradient[7], slope, rtol=1e-4)


def test_the_scale_is_where_the_likelihood_is_largest(case):
    x, measured, shard = case
    counts, background, q = seen(measured)
    p = power(q, x)
    best = minimize_scalar(
        lambda c: np.sum(c * c * p - counts * np.log(c * c * p + background)),
        bounds=(0.1, 5.0),
        method="bounded",
        options={"xatol": 1e-10},
    )
    omega = StructureFactor(shard.patches, 1e-13).forward(x)[shard.valid]
    args = (shard.counts[shard.valid], omega, SERIAL)
    assert_allclose(poisson_scale(*args, shard.background_at(shard.valid)), best.x, rtol=1e-6)
    assert poisson_scale(*args) > 1.3 * best.x


def plain_misfit(x, w, c, measured, floor=0.0):
    counts, background, q = seen(measured)
    signal = np.maximum(counts - background, 0)
    sure = np.maximum(counts - 2 * np.sqrt(counts), 0)
    u = 1 / (1 + 4 * floor**2 * sure * (signal / np.maximum(counts, 1)) ** 2)
    model = c**2 * power(q, x, w) + background
    some = counts + EXTRA
    return np.sum(u * (model - counts + some * np.log(some / (model + EXTRA))))


@pytest.mark.parametrize("floor", [0.0, 0.2])
def test_the_misfit_and_its_gradients(case, rng, floor):
    x, measured, shard = case
    w = rng.uniform(0.5, 1.2, len(x))
    misfit = PoissonMisfit(shard, StructureFactor(shard.patches, 1e-13), floor=floor)
    result = misfit(x, w, positions=True, occupancies=True)
    best = minimize_scalar(
        lambda c: plain_misfit(x, w, c, measured, floor), bounds=(0.1, 5.0), method="bounded"
    )
    assert_allclose(result.scale, best.x, rtol=1e-4)
    assert_allclose(result.value, best.fun, rtol=1e-8)
    step = 1e-5

    def slope(a, b):
        values = [plain_misfit(*pair, result.scale, measured, floor) for pair in (a, b)]
        return (values[0] - values[1]) / (2 * step)

    for j in (1, 8):
        for axis in range(3):
            y, z = x.copy(), x.copy()
            y[j, axis] += step
            z[j, axis] -= step
            assert_allclose(result.d_positions[j, axis], slope((y, w), (z, w)), rtol=1e-5)
        up, down = w.copy(), w.copy()
        up[j] += step
        down[j] -= step
        assert_allclose(result.d_weights[j], slope((x, up), (x, down)), rtol=1e-5)


def test_excess_is_noise_for_the_truth_and_the_background(data):
    """At the truth nothing is in excess; a background that isn't declared is."""
    x, measured = data
    found = []
    undeclared = Diffraction(measured.patches, measured.counts, measured.valid)
    for d in (measured, undeclared):
        shard = local_shard(d, SERIAL)
        factor = StructureFactor(shard.patches, 1e-13)
        omega = factor.forward(x)
        found.append(PoissonMisfit(shard, factor).excess(omega, SCALE)[0])
    assert abs(found[0]) < 4
    assert found[1] > 50


def test_the_difference_map_shows_a_missing_atom(rng):
    """Strong background on a strong signal: depth of a whole atom, at its place."""
    x = fcc_ball(8.0)
    patches = paper_patches(16)
    background = [np.full(p.shape, 30.0) for p in patches]
    counts = [
        rng.poisson(25 * power(p.q(), x).reshape(p.shape) + 30).astype(float) for p in patches
    ]
    shard = local_shard(Diffraction(patches, counts, background=background), SERIAL)
    factor = StructureFactor(shard.patches, 1e-9)
    rest = np.delete(x, 40, axis=0)
    difference = difference_map(PoissonMisfit(shard, factor), rest)
    assert difference(x[40][None])[0] == pytest.approx(-1, abs=0.25)
    assert np.abs(difference(rest)).max() < 0.5


def test_gains_of_single_atoms_by_the_series(case):
    """Three terms against the exact change of the likelihood, for removal and addition."""
    x, measured, shard = case
    counts, background, q = seen(measured)
    factor = StructureFactor(shard.patches, 1e-9)
    inside = np.arange(len(x)) < 9

    def likelihood(y):
        lam = SCALE**2 * power(q, y) + background
        return np.sum(counts * np.log(lam) - lam)

    base = likelihood(x[inside])
    exact = []
    for j in range(len(x)):
        held = inside.copy()
        held[j] = not held[j]
        exact.append(likelihood(x[held]) - base)
    for terms, tolerance in ((3, 0.1), (40, 2e-3)):
        omega = factor.forward(x[inside])
        got = single_atom_gains(shard, factor, omega, shard.valid, SCALE, x, inside, terms)
        assert_allclose(got, exact, atol=tolerance * np.abs(exact).max())


def test_the_grid_walk_knows_the_likelihood(case):
    x, measured, shard = case
    counts, background, q = seen(measured)
    problem = make_problem(measured, x=x)
    held, new = x[:9], x[9:]
    walk = GridLikelihood(problem, shard.valid, problem.factor.forward(held), SCALE, held, new)

    def likelihood(y):
        lam = SCALE**2 * power(q, y) + background
        return np.sum(counts * np.log(lam) - lam)

    cells = [(1, 0), (0, 1), (1, 1)]
    exact = [likelihood(np.concatenate([held[a:], new[:b]])) - likelihood(held) for a, b in cells]
    assert_allclose(walk.gains((0, 0), cells), exact, rtol=1e-3, atol=0.05)
