"""Background counts in the Poisson mean: everywhere the mean is, against plain sums."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
import scipy.stats
from numpy.testing import assert_allclose
from scipy.optimize import minimize_scalar
from small_crystal import fcc_ball, make_problem

from prammol.cli.main import run
from prammol.core.errors import InputError
from prammol.core.parallel import Communicator
from prammol.diffraction.bragg_patch import BraggPatch, cubic_patch, paper_patches
from prammol.diffraction.dataset import Diffraction, background_arrays, local_shard
from prammol.diffraction.structure_factor import StructureFactor, direct_structure_factor
from prammol.diffraction.support import support_from_truth
from prammol.evaluation.metrics import evaluate
from prammol.io import read_diffraction, write_atoms, write_diffraction
from prammol.likelihood.atom_gains import single_atom_gains
from prammol.likelihood.difference_map import difference_map
from prammol.likelihood.poisson import poisson_log_likelihood, poisson_scale, residual_weights
from prammol.likelihood.quasi_likelihood import EXTRA, PoissonMisfit
from prammol.reconstruction.loop import reconstruct
from prammol.reconstruction.stages.paper.fit_positions import NegativeLogLikelihood
from prammol.reconstruction.stages.paper.grid_walk import GridWalk
from prammol.simulation.counts import simulate
from prammol.simulation.samples import make_crystal
from prammol.structure.atoms import Atoms

SERIAL = Communicator()
SCALE = 1.3
SHEARED = BraggPatch(
    [-0.5, 1.5, 1.4],
    [[0.03, 0.002, -0.001], [0.012, 0.028, 0.003], [-0.004, 0.015, 0.031]],
    (9, 6, 7),
)


@pytest.fixture
def data(rng):
    """A few atoms, weak against a background that varies over each patch; some points masked."""
    patches = [cubic_patch((-1, 1, 1), 0.6, 8, 4.05), SHEARED]
    x = rng.uniform(-6, 6, (12, 3))
    background = [rng.uniform(0, 20, p.shape) for p in patches]
    counts, valid = [], []
    for p, b in zip(patches, background, strict=True):
        omega = direct_structure_factor(p.q(), x).reshape(p.shape)
        counts.append(rng.poisson(SCALE**2 * np.abs(omega) ** 2 + b).astype(float))
        valid.append(rng.random(p.shape) > 0.1)
    return x, Diffraction(patches, counts, valid, background=background)


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


def test_log_likelihood_is_scipys_up_to_the_factorials(case):
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


def test_stage_estimate_minimises_that_likelihood(case):
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


def test_scale_is_the_one_of_largest_likelihood(case):
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
def test_misfit_and_its_gradients(case, rng, floor):
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


def test_difference_map_shows_a_missing_atom(rng):
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
    difference = difference_map(PoissonMisfit(shard, factor), factor, SERIAL, rest)
    assert difference(x[40][None])[0] == pytest.approx(-1, abs=0.25)
    assert np.abs(difference(rest)).max() < 0.5


def test_ranking_by_the_series(case):
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


def test_grid_search_knows_the_likelihood(case):
    x, measured, shard = case
    counts, background, q = seen(measured)
    problem = make_problem(measured, x=x)
    held, new = x[:9], x[9:]
    walk = GridWalk(problem, shard.valid, problem.factor.forward(held), SCALE, held, new)

    def likelihood(y):
        lam = SCALE**2 * power(q, y) + background
        return np.sum(counts * np.log(lam) - lam)

    cells = [(1, 0), (0, 1), (1, 1)]
    exact = [likelihood(np.concatenate([held[a:], new[:b]])) - likelihood(held) for a, b in cells]
    assert_allclose(walk.gains((0, 0), cells), exact, rtol=1e-3, atol=0.05)


def test_counts_are_drawn_with_the_background(rng):
    """Mean and variance of many draws; the seed decides; it is declared in the data."""
    x = rng.uniform(-4, 4, (5, 3))
    patches = paper_patches(6)
    arrays = [rng.uniform(2, 9, p.shape) for p in patches]
    draws = [simulate(Atoms(x, "Al"), 1e16, s, patches, background=arrays) for s in range(400)]
    scale = draws[0].meta["scale"]
    drawn = np.array([np.concatenate([c.ravel() for c in d.counts]) for d in draws])
    mean = np.concatenate([b.ravel() for b in arrays])
    mean = mean + scale**2 * power(np.concatenate([p.q() for p in patches]), x)
    sigma = (drawn.mean(axis=0) - mean) / np.sqrt(mean / 400)
    assert abs(sigma.mean()) < 0.2
    assert sigma.std() == pytest.approx(1, abs=0.15)
    for declared, b in zip(draws[0].background, arrays, strict=True):
        assert np.array_equal(declared, b)
    plain = simulate(Atoms(x, "Al"), 1e18, 1, patches)
    assert not plain.background
    zero = simulate(Atoms(x, "Al"), 1e18, 1, patches, background=0.0)
    assert np.array_equal(plain.counts[0], zero.counts[0])


@pytest.mark.parametrize("kind", ["constant", "array"])
def test_files_keep_the_background(tmp_path, data, kind):
    _, measured = data
    background = measured.background
    if kind == "constant":
        background = [np.full(p.shape, 2.5) for p in measured.patches]
    given = Diffraction(measured.patches, measured.counts, measured.valid, background=background)
    write_diffraction(tmp_path / "d.h5", given)
    back = read_diffraction(tmp_path / "d.h5")
    for a, b in zip(back.background, background, strict=True):
        assert np.array_equal(a, b)
    with h5py.File(tmp_path / "d.h5", "r+") as file:
        assert (file["entry_1/image_1/background"].shape == ()) == (kind == "constant")
        del file["entry_1/image_1/background"], file["entry_2/image_1/background"]
    assert not read_diffraction(tmp_path / "d.h5").background
    with h5py.File(tmp_path / "d.h5", "r+") as file:
        file["entry_2/image_1/background"] = -1.0
    with pytest.raises(InputError, match="background of patch 2 contains"):
        read_diffraction(tmp_path / "d.h5")


def test_wrong_backgrounds_are_refused(data):
    _, measured = data
    args = (measured.patches, measured.counts)
    with pytest.raises(InputError, match="2 patches and 1 arrays of background"):
        Diffraction(*args, background=measured.background[:1])
    with pytest.raises(InputError, match="background of patch 1 has shape"):
        Diffraction(*args, background=[np.ones((2, 2, 2)), measured.background[1]])
    nan = [b * np.nan for b in measured.background]
    with pytest.raises(InputError, match="background of patch 1 contains NaN"):
        Diffraction(*args, background=nan)
    for bad in (-1.0, np.inf, [np.ones((2, 2, 2))]):
        with pytest.raises(InputError, match="background"):
            background_arrays(bad, measured.patches)


def test_the_command_takes_numbers_and_files(tmp_path, rng, capsys):
    write_atoms(tmp_path / "s.xyz", Atoms(fcc_ball(6.0), "Al"))
    for k in range(3):
        np.save(tmp_path / f"b{k}.npy", rng.uniform(0, 9, (7, 7, 7)))
    command = ["simulate", str(tmp_path / "s.xyz"), "--flux", "1e17", "--points", "7", "-o"]
    number = ["--background", "4.5"]
    files = [t for k in range(3) for t in ("--background", str(tmp_path / f"b{k}.npy"))]
    assert run([*command, str(tmp_path / "n.h5"), *number]) == 0
    assert run([*command, str(tmp_path / "f.h5"), *files]) == 0
    for b in read_diffraction(tmp_path / "n.h5").background:
        assert np.array_equal(b, np.full((7, 7, 7), 4.5))
    for k, b in enumerate(read_diffraction(tmp_path / "f.h5").background):
        assert np.array_equal(b, np.load(tmp_path / f"b{k}.npy"))
    capsys.readouterr()
    np.save(tmp_path / "b0.npy", np.ones((2, 7, 7)))
    for wrong, match in (
        (files[:4], "2 backgrounds for 3 patches"),
        (files, "b0.npy: its background has shape (2, 7, 7)"),
        (["--background", "none"], "none: no such file"),
        (["--background", "nan"], "NaN"),
    ):
        assert run([*command, str(tmp_path / "w.h5"), *wrong]) == 2
        assert match in capsys.readouterr().err


@pytest.fixture(scope="module")
def crystal():
    return make_crystal("bulk", atoms=300, seed=6)


def test_whole_reconstruction_with_background_gaps_and_patches_of_different_size(crystal):
    """A beam stop, gaps and hot pixels, a background that varies: exact at 1e19."""
    patches = [
        cubic_patch((-1, 1, 1), 0.6, 24, 4.05),
        cubic_patch((1, -1, 1), 0.5, 22, 4.05),
        cubic_patch((1, 1, -1), 0.6, 26, 4.05),
    ]
    background = [3.0 + np.indices(p.shape)[2] / 4.0 for p in patches]
    data = simulate(crystal, 1e19, 1, patches, background=background)
    rng = np.random.default_rng(0)
    valid = [rng.random(c.shape) > 0.02 for c in data.counts]
    valid[0][16:17] = False
    valid[1][10:12, 10:12, 10:12] = False
    counts = [np.where(v, c, 7e7) for c, v in zip(data.counts, valid, strict=True)]
    data = Diffraction(patches, counts, valid, data.meta, background=background)
    result = reconstruct(data, support_from_truth(crystal, 5.0), seed=1)
    metrics = evaluate(result.atoms, crystal, with_resolution=False)
    assert (metrics.n_missing, metrics.n_extra) == (0, 0)
    assert metrics.max_error_pm < 0.5
    assert result.converged
    assert result.scale == pytest.approx(data.meta["scale"], rel=1e-3)


def test_a_background_that_is_not_declared_is_not_called_converged(crystal):
    data = simulate(crystal, 1e19, 1, paper_patches(24), background=5.0)
    undeclared = Diffraction(data.patches, data.counts, meta=data.meta)
    support = support_from_truth(crystal, 5.0)
    result = reconstruct(undeclared, support, seed=1, settings={"max_iterations": 1})
    assert not result.converged
    assert result.history[-1]["excess"] > 50
