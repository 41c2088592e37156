"""Diffuse scattering of a warm crystal: against all modes of its Hessian, by direct sums."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from small_crystal import make_problem, relaxed_ball

from prammol.diffraction.bragg_patch import paper_patches
from prammol.diffraction.dataset import Diffraction
from prammol.diffraction.diffuse_scattering import DiffuseScattering
from prammol.reconstruction.model import Model
from prammol.reconstruction.refinement.diffuse_fit import DiffuseFit, fitted_diffuse
from prammol.reconstruction.stages.default.fit_diffuse import FitDiffuse
from prammol.reconstruction.state import LoopStatus, State
from prammol.reconstruction.verdict import judge

POINTS, RADIUS, SCALE = 12, 9.5, 4.0
HEAT = 8.617333e-5 * 200  # k_B T [eV]
MOTION = 0.01  # Å^2; that of dynamics is larger than the harmonic one


def counts(expected, seed):
    patches = paper_patches(POINTS)
    drawn = np.random.default_rng(seed).poisson(expected).astype(float)
    parts = np.split(drawn, len(patches))
    arrays = [part.reshape(p.shape) for part, p in zip(parts, patches, strict=True)]
    return Diffraction(patches, arrays, meta={"element": "Al", "scale": SCALE})


@pytest.fixture(scope="module")
def scattering():
    """abs(Omega)^2 at rest, and one-phonon scattering of all modes times k_B T."""
    x = relaxed_ball(RADIUS)
    cluster = make_problem(counts(np.ones(3 * POINTS**3), 0), x=x, cluster=True).cluster
    hessian = np.empty((x.size, x.size))
    for i in range(x.size):
        move = np.zeros(x.size)
        move[i] = 1e-3
        move = move.reshape(x.shape)
        up, down = (cluster.energy_forces(x + s * move)[1] for s in (1, -1))
        hessian[i] = (down - up).ravel() / 2e-3
    cluster.close()
    values, vectors = np.linalg.eigh(0.5 * (hessian + hessian.T))
    modes = (vectors[:, 6:] * np.sqrt(HEAT / values[6:])).reshape(len(x), 3, -1)
    coherent, diffuse = [], []
    for q in np.array_split(np.concatenate([p.q() for p in paper_patches(POINTS)]), 20):
        waves = np.exp(-1j * q @ x.T)
        one = sum(q[:, a, None] * (waves @ modes[:, a]) for a in range(3))
        coherent.append(np.abs(waves.sum(axis=1)) ** 2)
        diffuse.append(np.sum(np.abs(one) ** 2, axis=1))
    return np.concatenate(coherent), np.concatenate(diffuse)


def warm(scattering, part=1.0):
    coherent, diffuse = scattering
    square = np.concatenate([np.sum(p.q() ** 2, axis=1) for p in paper_patches(POINTS)])
    return SCALE**2 * np.exp(-MOTION * square) * (coherent + part * diffuse)


def judged(problem, x):
    model, verdict = judge(problem, State.of(x, 1.0).model, problem.factor.forward(x), 5.0)
    return State(model, verdict)


def test_what_the_potential_predicts_is_found(scattering):
    x = relaxed_ball(RADIUS)
    data = counts(warm(scattering), 1)
    problem = make_problem(data, x=x, cluster=True)
    found = fitted_diffuse(problem, Model(x, 1.0))
    true = warm(scattering) - warm(scattering, 0.0)
    off = found.photons - true
    assert np.abs(off).sum() < 0.1 * true.sum()
    assert np.corrcoef(found.photons, true)[0, 1] > 0.99
    assert found.displacement == pytest.approx(MOTION, rel=0.2)
    assert found.error == pytest.approx(np.sqrt(np.mean((off / true) ** 2)), rel=0.5)
    before, after = judged(problem, x), judged(problem.with_diffuse(found), x)
    assert after.verdict.excess < 0.1 * before.verdict.excess
    assert after.model.scale == pytest.approx(SCALE, rel=0.06)  # u and C hardly differ
    problem.cluster.close()


def test_without_diffuse_scattering_nothing_changes(scattering):
    """Whether the crystal is warm or some of its atoms are missing."""
    x = relaxed_ball(RADIUS)
    problem = make_problem(counts(warm(scattering, 0.0), 2), x=x, cluster=True)
    for atoms in (x, x[:-12]):
        assert fitted_diffuse(problem, Model(atoms, 1.0)) is None
    problem.cluster.close()


@pytest.mark.parametrize("coherent", [True, False])
def test_the_variance_tells_an_amplitude_of_random_phase_from_diffuse_scattering(coherent):
    """abs(Omega + d)^2 with complex Gaussian d has the mean of abs(Omega)^2 + s, and more noise."""
    x = relaxed_ball(RADIUS)
    square = np.concatenate([np.sum(p.q() ** 2, axis=1) for p in paper_patches(POINTS)])
    extra = 10.0 * square  # mean square of d, in units of one atom
    rng = np.random.default_rng(3)
    omega = make_problem(counts(np.ones(3 * POINTS**3), 0), x=x).factor.forward(x)
    if coherent:
        d = rng.normal(size=(2, len(omega))) * np.sqrt(extra / 2)
        mean = np.abs(omega + d[0] + 1j * d[1]) ** 2
    else:
        mean = np.abs(omega) ** 2 + extra
    problem = make_problem(counts(100.0 * mean, 4), x=x)
    fit = DiffuseFit(problem, omega, [extra])
    found = fit.coherence(fit.fitted())
    assert found == pytest.approx(1.0, abs=0.3) if coherent else found < 0.1


RANKS = """
import sys

sys.path[:0] = [TESTS]
import numpy as np
from small_crystal import make_problem
from test_diffuse_fit import counts

from prammol.core.parallel import world
from prammol.reconstruction.model import Model
from prammol.reconstruction.refinement.diffuse_fit import fitted_diffuse

comm, x = world(), np.load("x.npy")
problem = make_problem(counts(np.load("expected.npy"), 1), x=x, comm=comm, cluster=True)
found = fitted_diffuse(problem, Model(x, 1.0))
if comm.is_root:
    row = [found.displacement, *found.temperatures, found.error]
    np.savez(f"{comm.size}.npz", row=row, photons=found.photons, trust=found.trust)
"""


@pytest.mark.mpi
def test_two_ranks_find_what_one_finds(scattering, parallel, tmp_path):
    np.save(tmp_path / "x.npy", relaxed_ball(RADIUS))
    np.save(tmp_path / "expected.npy", warm(scattering))
    here = Path(__file__).resolve()
    script = tmp_path / "script.py"
    script.write_text(RANKS.replace("TESTS", f"{str(here.parents[2])!r}, {str(here.parent)!r}"))
    for ranks in (1, 2):
        done = parallel(ranks, script)
        assert done.returncode == 0, done.stderr
    one, two = (np.load(tmp_path / f"{n}.npz") for n in (1, 2))
    for name in one:
        np.testing.assert_allclose(two[name], one[name], rtol=1e-5, atol=1e-6)


def test_where_a_prediction_is_off_as_it_says_nothing_is_unexplained():
    """Its errors are a part of the noise, and a missing atom isn't hidden by them."""
    x, rng = relaxed_ball(RADIUS), np.random.default_rng(5)
    plain = make_problem(counts(np.ones(3 * POINTS**3), 0), x=x)
    coherent = SCALE**2 * np.abs(plain.factor.forward(x)) ** 2
    predicted = np.full(coherent.shape, 0.3 * coherent.mean())
    off = 1.0 + 0.15 * rng.standard_normal(coherent.shape)
    problem = make_problem(counts(coherent + off * predicted, 3), x=x)
    lam = coherent + predicted
    trust = lam / (lam + (0.15 * predicted) ** 2)
    diffuse = DiffuseScattering(predicted, trust, 0.0, np.zeros(2), 0.15, np.empty((2, 0)), x)
    blind = replace(diffuse, trust=np.ones(lam.shape))
    excess = [
        judged(problem.with_diffuse(d), y).verdict.excess
        for d, y in ((diffuse, x), (blind, x), (diffuse, x[1:]))
    ]
    assert abs(excess[0]) < 3
    assert excess[1] > 30
    assert excess[2] > excess[0] + 5


def test_the_stage_predicts_once_for_the_same_atoms(scattering):
    x = relaxed_ball(RADIUS)
    problem = make_problem(counts(warm(scattering), 1), x=x, cluster=True)
    state = judged(problem, x)
    try:
        found = FitDiffuse()(problem, state)
        assert found.model.diffuse.temperatures == pytest.approx([200, 200], rel=0.15)
        assert found.status.selected
        assert found.verdict.excess < 0.1 * state.verdict.excess
        again = problem.with_diffuse(found.model.diffuse)
        renewed = FitDiffuse()(again, found).model.diffuse
        np.testing.assert_array_equal(renewed.columns, found.model.diffuse.columns)
        np.testing.assert_allclose(renewed.photons, found.model.diffuse.photons, rtol=1e-3)
        idle = replace(found, status=LoopStatus(iteration=1))
        assert FitDiffuse()(again, idle) is idle
        pulled = replace(idle, model=replace(idle.model, stiffness=1.0))
        assert FitDiffuse()(again, pulled) is not pulled
        assert FitDiffuse(diffuse=False)(problem, state) is state
    finally:
        problem.cluster.close()
