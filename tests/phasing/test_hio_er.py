"""Phasing of one patch, against the structure that was simulated."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from phased import WIDTH

from prammol.core.parallel import Communicator
from prammol.diffraction.bragg_patch import BraggPatch
from prammol.diffraction.structure_factor import direct_structure_factor
from prammol.diffraction.support import support_from_truth
from prammol.phasing.fourier_synthesis import Waves
from prammol.phasing.hio_er import (
    MeasuredPatch,
    envelope_mask,
    phase_patch,
    stagnated,
    support_mask,
    trimmed,
)
from prammol.structure.atoms import Atoms


def correlation(a, b):
    return abs(np.vdot(a, b)) / np.linalg.norm(a) / np.linalg.norm(b)


def test_phases_come_out_of_the_amplitudes(crystal, exact):
    support = support_from_truth(Atoms(crystal, "Al"))
    centre = exact[0].centre
    rng = np.random.default_rng(5)
    for true in exact:
        counts = np.abs(1.9 * direct_structure_factor(true.patch.q(), crystal)) ** 2
        counts = counts.reshape(true.patch.shape)
        start = np.exp(2j * np.pi * rng.random(true.patch.shape)).astype(np.complex64)
        mask = support_mask(true.patch, support, centre)
        valid = np.ones(true.patch.shape, dtype=bool)
        measured = MeasuredPatch(true.patch, true.peak, counts, valid)
        found = phase_patch(measured, WIDTH, mask, centre, start, 400)
        assert found.error < 0.05
        # A shift of the object within the support's slack is a phase ramp.
        ratio = np.fft.ifftn(found.field * true.field.conj(), s=[96] * 3, axes=(0, 1, 2))
        both = np.linalg.norm(found.field) * np.linalg.norm(true.field)
        assert np.abs(ratio).max() * 96**3 / both > 0.95


def test_a_patch_far_behind_the_others_has_stagnated(exact):
    def patches(*pairs):
        return {k: replace(exact[0], error=e, noise=n) for k, (e, n) in enumerate(pairs)}

    assert stagnated(patches((0.0117, 0.001), (0.0109, 0.001), (0.1387, 0.001))) == [2]
    assert stagnated(patches((0.0134, 0.001), (0.0135, 0.001), (0.0142, 0.001))) == []
    # A weaker peak may be further off by as much as its own noise.
    assert stagnated(patches((0.02, 0.01), (0.021, 0.01), (0.15, 0.14))) == []
    assert stagnated(patches((0.02, 0.01), (0.021, 0.01), (0.35, 0.14))) == [2]


@pytest.mark.parametrize("scale", [0.04, 1.0, 30.0])
def test_noise_alone_gives_the_error_of_the_true_phases(exact, scale):
    """Amplitudes of Poisson counts against the true ones: the error is that of the noise."""
    true = exact[0]
    mean = scale**2 * np.abs(true.field) ** 2
    rng = np.random.default_rng(7)
    counts = rng.poisson(mean).astype(float)
    everywhere = np.ones(true.patch.shape, dtype=bool)
    measured = MeasuredPatch(true.patch, true.peak, counts, everywhere)
    found = phase_patch(measured, 1e3, everywhere, true.centre, true.field, 1)
    expected = np.linalg.norm(np.sqrt(counts) - np.sqrt(mean)) / np.linalg.norm(np.sqrt(counts))
    assert found.noise == pytest.approx(expected, rel=0.25)


def test_a_gap_in_the_detector_is_filled(crystal, exact):
    true = exact[0]
    support = support_from_truth(Atoms(crystal, "Al"))
    mask = support_mask(true.patch, support, true.centre)
    counts = np.abs(1.9 * direct_structure_factor(true.patch.q(), crystal)) ** 2
    counts = counts.reshape(true.patch.shape)
    valid = np.ones(true.patch.shape, dtype=bool)
    valid[9:11] = False
    # The phases are right to begin with: what the gap gets must come from the support.
    measured = MeasuredPatch(true.patch, true.peak, np.where(valid, counts, 1e9), valid)
    start = np.where(valid, true.field, 1e-3)
    found = phase_patch(measured, WIDTH, mask, true.centre, start, 400)
    assert correlation(found.field[~valid], true.field[~valid]) > 0.9


def test_the_envelope_is_tighter_than_the_support_and_holds_the_crystal(crystal, exact):
    support = support_from_truth(Atoms(crystal, "Al"))
    p = exact[0]
    mask = support_mask(p.patch, support, p.centre)
    tight = envelope_mask(Waves(exact, Communicator()), p.patch, mask, 0.1)
    assert tight.sum() < mask.sum()
    index = (crystal - p.centre) @ np.linalg.inv(p.patch.voxel()) + np.array(p.patch.shape) // 2
    assert tight[tuple(np.rint(index).astype(int).T)].mean() > 0.99


def test_edges_with_large_prime_factors_lose_planes_on_both_sides(rng):
    step = np.array([[0.01, 0.001, 0.0], [0.0, 0.012, 0.0], [0.0, 0.002, 0.011]])
    patch = BraggPatch([1.0, -1.0, 2.0], step, (67, 66, 71))
    signal = rng.random(patch.shape)
    peak = patch.middle
    found = trimmed(MeasuredPatch(patch, peak, signal, signal > 0.1))
    less, kept, valid = found.patch, found.counts, found.valid
    np.testing.assert_array_equal(found.peak, peak)
    assert less.shape == kept.shape == valid.shape == (64, 64, 70)
    where = np.indices(less.shape).reshape(3, -1).T + [1, 1, 0]
    np.testing.assert_allclose(less.q(), patch.at(where), rtol=1e-12)
    np.testing.assert_array_equal(kept.ravel(), signal[tuple(where.T)])
    np.testing.assert_array_equal(valid, kept > 0.1)
    short = BraggPatch([1.0, -1.0, 2.0], step, (13, 64, 5))
    dark = MeasuredPatch(short, peak, np.zeros(short.shape), np.ones(short.shape, bool))
    assert trimmed(dark).patch.shape == (13, 64, 5)
