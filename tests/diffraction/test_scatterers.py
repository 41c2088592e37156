"""Atoms of several elements, against direct sums with tabulated form factors."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from compounds import coal, coal_ball, patches, waves
from small_crystal import make_problem

from prammol.core.parallel import Communicator
from prammol.diffraction.dataset import local_shard
from prammol.diffraction.debye_waller import ThermalStructureFactor
from prammol.diffraction.form_factors import form_factor
from prammol.diffraction.scatterers import Scatterers
from prammol.diffraction.structure_factor import StructureFactor
from prammol.likelihood.extra_photons import EXTRA
from prammol.likelihood.fisher_information import Fisher
from prammol.likelihood.quasi_likelihood import PoissonMisfit
from prammol.reconstruction.occupancy.candidate_sites import CandidateSites
from prammol.simulation.counts import simulate
from prammol.structure.labels import Labels

ATOMS = coal_ball(5.5)
PATCHES = patches(12)
Q = np.concatenate([p.q() for p in PATCHES])
LABELS = Labels.of_atoms(ATOMS.positions, ATOMS.kinds)


def factor(constant=False, epsilon=1e-10):
    scatterers = Scatterers.of(coal().elements, PATCHES, constant, LABELS)
    return StructureFactor(PATCHES, epsilon, scatterers=scatterers)


def test_the_structure_factor_has_the_form_factor_of_each_atom(rng):
    w = rng.uniform(0.5, 1.0, len(ATOMS))
    direct = waves(ATOMS, Q)
    np.testing.assert_allclose(factor().forward(ATOMS.positions), direct.sum(axis=0), atol=1e-7)
    np.testing.assert_allclose(factor().forward(ATOMS.positions, w), w @ direct, atol=1e-7)
    v = rng.normal(size=len(Q)) + 1j * rng.normal(size=len(Q))
    adjoint = factor().adjoint(v, ATOMS.positions)
    np.testing.assert_allclose(adjoint, direct.conj() @ v, atol=1e-6)
    moments = factor().adjoint_moments(v, ATOMS.positions)
    np.testing.assert_allclose(moments, (direct.conj() * v) @ Q, atol=1e-5)


def test_a_constant_form_factor_is_one_ratio_for_all_points():
    length = np.mean([np.linalg.norm(p.middle) for p in PATCHES])
    ratio = form_factor("Co", length) / form_factor("Al", length)
    weight = np.where(ATOMS.symbols == "Co", ratio, 1.0)
    direct = weight @ np.exp(-1j * ATOMS.positions @ Q.T)
    np.testing.assert_allclose(factor(True).forward(ATOMS.positions), direct, atol=1e-7)
    np.testing.assert_allclose(factor(True).weights_of(ATOMS.positions), weight)


def test_moving_atoms_keep_their_form_factors():
    motion = np.full(len(ATOMS), 0.004)
    moving = ThermalStructureFactor(
        PATCHES, motion, 3.0, 1e-10, scatterers=factor().scatterers
    ).forward(ATOMS.positions)
    damped = np.exp(-0.002 * np.sum(Q**2, axis=1)) * waves(ATOMS, Q).sum(axis=0)
    np.testing.assert_allclose(moving, damped, atol=1e-6)


@pytest.mark.parametrize("form", ["q", "constant"])
def test_counts_have_the_mean_of_the_direct_sum(form):
    many = [
        np.concatenate(
            [c.ravel() for c in simulate(ATOMS, 1e18, s, PATCHES, form_factor=form).counts]
        )
        for s in range(40)
    ]
    data = simulate(ATOMS, 1e18, 0, PATCHES, form_factor=form)
    if form == "q":
        gain = np.concatenate([g.ravel() for g in data.gain])
        power = gain * np.abs(waves(ATOMS, Q).sum(axis=0)) ** 2
    else:
        weight = factor(True).weights_of(ATOMS.positions)
        power = np.abs(weight @ np.exp(-1j * ATOMS.positions @ Q.T)) ** 2
    expected = data.meta["scale"] ** 2 * power
    z = (np.mean(many, axis=0) - expected) / np.sqrt(expected / 40 + 1e-9)
    assert np.abs(z[expected > 1]).max() < 5.5
    assert data.meta["elements"] == "Al,Co"
    assert data.meta["element"] == "Al"


def problem_of(data):
    shard = local_shard(data, Communicator())
    made = StructureFactor(shard.patches, 1e-9, 1, shard.amplitude, factor().scatterers)
    return shard, made


def test_slopes_and_curvatures_of_the_misfit_are_those_of_each_element():
    data = simulate(ATOMS, 1e18, 1, PATCHES)
    shard, made = problem_of(data)
    x = ATOMS.positions + np.random.default_rng(2).normal(0, 0.01, ATOMS.positions.shape)
    misfit = PoissonMisfit(shard, made)
    ones = np.ones(len(x))
    found = misfit(x, ones, positions=True, occupancies=True)
    for j in (0, int(np.flatnonzero(ATOMS.kinds == 1)[0])):
        for a in range(3):
            step = 1e-5 * np.eye(3)[a] * (np.arange(len(x)) == j)[:, None]
            up, down = misfit(x + step).value, misfit(x - step).value
            slope = (up - down) / 2e-5
            assert found.d_positions[j, a] == pytest.approx(slope, rel=1e-3, abs=1.0)
        step = 1e-5 * (np.arange(len(x)) == j)
        slope = (misfit(x, ones + step).value - misfit(x, ones - step).value) / 2e-5
        assert found.d_weights[j] == pytest.approx(slope, rel=1e-3, abs=1.0)


def test_the_information_on_each_atom_is_that_of_its_element():
    data = simulate(ATOMS, 1e18, 1, PATCHES)
    shard, made = problem_of(data)
    scale = data.meta["scale"]
    blocks = Fisher(shard, made, ATOMS.positions, scale).blocks()
    own = waves(ATOMS, Q) * np.sqrt(np.concatenate([g.ravel() for g in data.gain]))
    omega = own.sum(axis=0)
    signal = scale**2 * np.abs(omega) ** 2
    for j in (0, len(ATOMS) - 1):
        slope = 2 * scale**2 * (omega.conj() * -1j * own[j]).real * Q.T
        direct = (slope / (signal + EXTRA)) @ slope.T
        np.testing.assert_allclose(blocks[j], direct, rtol=1e-5, atol=1e-5 * direct.max())


def test_what_flipping_a_site_costs_is_that_of_its_element():
    # A quadratic function of the occupancies: exact for one flip under wide errors.
    data = simulate(ATOMS, 1e17, 1, PATCHES)
    shard, made = problem_of(data)
    misfit = PoissonMisfit(shard, made, floor=2.0)
    taken = np.ones(len(ATOMS), dtype=bool)
    sites = CandidateSites(misfit, coal(), ATOMS.positions, taken, bond_energy=0.0)
    near = sites.expand(taken, depth=-1.0)
    diagonal = near.curvature.diagonal()
    kinds = ATOMS.kinds[near.free]
    weight = made.weights_of(ATOMS.positions)[near.free] ** 2
    np.testing.assert_allclose(diagonal / weight, diagonal[kinds == 0][0], rtol=1e-6)
    assert {0, 1} == set(kinds.tolist())


def test_a_problem_has_its_elements_where_labels_have_them():
    data = simulate(ATOMS, 1e18, 1, PATCHES)
    problem = make_problem(data, x=ATOMS.positions)
    nowhere = Labels.of_atoms(np.empty((0, 3)), np.empty(0, dtype=int))
    made = factor().scatterers.labelled(nowhere)
    problem = replace(problem, factor=StructureFactor(PATCHES, 1e-9, scatterers=made))
    alike = problem.factor.forward(ATOMS.positions)
    np.testing.assert_allclose(alike, np.exp(-1j * ATOMS.positions @ Q.T).sum(axis=0), atol=1e-6)
    told = problem.labelled(LABELS)
    np.testing.assert_allclose(
        told.factor.forward(ATOMS.positions), waves(ATOMS, Q).sum(axis=0), atol=1e-6
    )
    assert told.cluster.labels is LABELS
