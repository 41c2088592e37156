"""Known factors of the mean, different at each point: everywhere the mean is, against plain sums.

What one atom scatters into a point is then no longer the same for all.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose
from small_crystal import fcc_ball

from prammol.core.parallel import Communicator
from prammol.diffraction.bragg_patch import BraggPatch, cubic_patch
from prammol.diffraction.dataset import Diffraction, local_shard
from prammol.diffraction.debye_waller import ThermalStructureFactor
from prammol.diffraction.structure_factor import StructureFactor, direct_structure_factor
from prammol.likelihood.atom_gains import single_atom_gains
from prammol.likelihood.difference_map import difference_map
from prammol.likelihood.fisher_information import Fisher
from prammol.likelihood.quasi_likelihood import PoissonMisfit
from prammol.reconstruction.occupancy.overlaps import overlaps

SERIAL = Communicator()
SCALE = 1.3
SHEARED = BraggPatch(
    [-0.5, 1.5, 1.4],
    [[0.03, 0.002, -0.001], [0.012, 0.028, 0.003], [-0.004, 0.015, 0.031]],
    (9, 6, 7),
)


def form_factor(q):
    """A gain that falls with the length of q, to a third within the patches."""
    return np.exp(-0.4 * (np.sum(q**2, axis=-1) - 6.0))


@pytest.fixture(params=[0.0, 3.0], ids=["dark", "background"])
def case(rng, request):
    """Atoms a little off, the data of the true ones, and their shard."""
    patches = [cubic_patch((-1, 1, 1), 0.6, 8, 4.05), SHEARED]
    x = rng.uniform(-6, 6, (12, 3))
    gain = [form_factor(p.q()).reshape(p.shape) for p in patches]
    background = [np.full(p.shape, request.param) for p in patches]
    counts, valid = [], []
    for p, g, b in zip(patches, gain, background, strict=True):
        omega = direct_structure_factor(p.q(), x).reshape(p.shape)
        counts.append(rng.poisson(SCALE**2 * g * np.abs(omega) ** 2 + b).astype(float))
        valid.append(rng.random(p.shape) > 0.1)
    data = Diffraction(patches, counts, valid, gain=gain)
    if request.param:
        data = replace(data, background=background)
    shard = local_shard(data, SERIAL)
    return x + rng.normal(scale=0.1, size=x.shape), shard


def exact(shard, factor=StructureFactor, *args):
    return factor(shard.patches, *args, 1e-13, amplitude=shard.amplitude)


def mean(shard, x, w=None, scale=SCALE):
    """Lambda by direct sums."""
    q = np.concatenate([p.q() for p in shard.patches])
    signal = form_factor(q) * np.abs(direct_structure_factor(q, x, w)) ** 2
    return scale**2 * signal + shard.background_at(slice(None))


def test_the_misfit_and_its_gradients(case, rng):
    x, shard = case
    w = rng.uniform(0.5, 1.2, len(x))
    misfit = PoissonMisfit(shard, exact(shard))
    result = misfit(x, w, positions=True, occupancies=True)
    extra = misfit._extra

    def plain(y, v):
        lam, some = mean(shard, y, v, result.scale), shard.counts + extra
        cost = lam - shard.counts + some * np.log(some / (lam + extra))
        return cost[shard.valid].sum()

    assert_allclose(result.value, plain(x, w), rtol=1e-9)
    step = 1e-5
    for j in (1, 8):
        for axis in range(3):
            to = np.zeros_like(x)
            to[j, axis] = step
            slope = (plain(x + to, w) - plain(x - to, w)) / (2 * step)
            assert_allclose(result.d_positions[j, axis], slope, rtol=1e-5)
        to = np.zeros_like(w)
        to[j] = step
        slope = (plain(x, w + to) - plain(x, w - to)) / (2 * step)
        assert_allclose(result.d_weights[j], slope, rtol=1e-5)


def test_what_one_atom_costs_is_what_it_scatters(case):
    x, shard = case
    factor = exact(shard)
    misfit = PoissonMisfit(shard, factor)
    omega = factor.forward(x)
    lam = mean(shard, x)
    signal = lam - shard.background_at(slice(None))
    part = shard.valid * signal / (lam + misfit._extra)
    expected = SCALE**2 * np.sum(part * form_factor(factor.q))
    assert_allclose(misfit.cost_of_one_atom(omega, SCALE), expected, rtol=1e-9)


def test_the_information_on_an_atom(case):
    x, shard = case
    factor = exact(shard)
    q = factor.q
    lam = mean(shard, x)
    extra = PoissonMisfit(shard, factor)._extra
    omega = np.sqrt(form_factor(q)) * direct_structure_factor(q, x)
    blocks = Fisher(shard, factor, x, SCALE).blocks()
    for j in (0, 7):
        wave = np.sqrt(form_factor(q)) * np.exp(-1j * q @ x[j])
        slope = 2 * SCALE**2 * (omega.conj() * -1j * wave).real[:, None] * q
        expected = (slope * (shard.valid / (lam + extra))[:, None]).T @ slope
        assert_allclose(blocks[j], expected, rtol=1e-6, atol=1e-6 * np.abs(expected).max())


def test_moving_atoms_with_weights_have_the_amplitude_too(case, rng):
    x, shard = case
    motion, present = rng.uniform(0.0, 0.03, len(x)), rng.uniform(0.4, 1.0, len(x))
    plain = ThermalStructureFactor(shard.patches, motion, 2.7, 1e-12, occupancies=present)
    own = ThermalStructureFactor(
        shard.patches, motion, 2.7, 1e-12, occupancies=present, amplitude=shard.amplitude
    )
    assert_allclose(own.forward(x), shard.amplitude * plain.forward(x), atol=1e-9)
    v = rng.normal(size=(own.size, 2)) @ [1.0, 1j]
    assert_allclose(own.adjoint(v, x), plain.adjoint(shard.amplitude * v, x), rtol=1e-8)


def test_gains_of_single_atoms_by_the_series(case):
    """Many terms against the exact change of the likelihood, for removal and addition."""
    x, shard = case
    factor = exact(shard)
    inside = np.arange(len(x)) < 8
    omega = factor.forward(x[inside])
    found = single_atom_gains(shard, factor, omega, shard.valid, SCALE, x, inside, terms=60)
    base = mean(shard, x[inside])

    def likelihood(lam):
        return np.sum((shard.counts * np.log(lam) - lam)[shard.valid])

    for j in range(len(x)):
        w = inside.astype(float)
        w[j] = 1.0 - w[j]
        change = likelihood(mean(shard, x, w)) - likelihood(base)
        assert found[j] == pytest.approx(change, rel=0.02, abs=0.02 * np.abs(found).max())


def test_overlaps_are_weighted_with_what_one_atom_scatters(case, rng):
    x, shard = case
    factor = exact(shard)
    s = rng.random(factor.size) * shard.valid
    # As the sums are used: H is a sum over s times what one atom gives.
    found = overlaps(factor, s, x, 5.0, SERIAL).toarray()
    weight = s * form_factor(factor.q)
    apart = np.linalg.norm(x[:, None] - x[None], axis=2)
    for i, j in np.argwhere((apart > 0) & (apart < 5.0))[:6]:
        expected = weight @ np.cos(factor.q @ (x[i] - x[j])) / weight.sum()
        assert found[i, j] == pytest.approx(expected, abs=1e-7)


def test_the_difference_map_shows_a_missing_atom(rng):
    x = fcc_ball(8.0)
    patches = [cubic_patch(p, 0.6, 16, 4.05) for p in ((-1, 1, 1), (1, -1, 1), (1, 1, -1))]
    gain = [form_factor(p.q()).reshape(p.shape) for p in patches]
    counts = [
        rng.poisson(25 * g * np.abs(direct_structure_factor(p.q(), x)).reshape(p.shape) ** 2)
        for p, g in zip(patches, gain, strict=True)
    ]
    data = Diffraction(patches, [c.astype(float) for c in counts], gain=gain)
    shard = local_shard(data, SERIAL)
    misfit = PoissonMisfit(shard, exact(shard))
    rest = np.delete(x, 40, axis=0)
    difference = difference_map(misfit, rest)
    assert difference(x[40][None])[0] == pytest.approx(-1, abs=0.25)
    assert np.abs(difference(rest)).max() < 0.5
