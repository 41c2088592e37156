"""Shifts of the lattice against the shape: the true one wins."""

from __future__ import annotations

import numpy as np
from phased import NEIGHBOUR, PEAKS

from prammol.core.parallel import Communicator
from prammol.diffraction.dataset import Diffraction, local_shard
from prammol.diffraction.structure_factor import StructureFactor, direct_structure_factor
from prammol.diffraction.support import support_from_truth
from prammol.evaluation.metrics import evaluate
from prammol.likelihood.quasi_likelihood import PoissonMisfit
from prammol.phasing.fourier_synthesis import Waves, synthesise
from prammol.phasing.hio_er import (
    PhasedPatch,
    bulk_amplitude,
)
from prammol.phasing.lattice_shift import shifted_weights, weights_of_amplitude
from prammol.potentials.potential import aluminium
from prammol.reconstruction.occupancy.candidate_sites import CandidateSites
from prammol.structure.atoms import Atoms


def test_the_true_shift_of_the_lattice_wins(crystal, exact):
    """Twist the free phases by half a turn: of all shifts the one that undoes it must win."""
    turned = [
        PhasedPatch(p.patch, p.peak, p.field * np.complex64(np.exp(1j * a)), p.centre, 0.0, 0.0)
        for p, a in zip(exact, (np.pi, 0.0, np.pi / 2), strict=True)
    ]
    support = support_from_truth(Atoms(crystal, "Al"))
    waves = Waves(turned, Communicator())
    sites = synthesise(waves, support, NEIGHBOUR, np.random.default_rng(0))
    weights = shifted_weights(2 * np.pi * np.linalg.inv(PEAKS).T, waves, sites, 4)
    assert weights.shape == (64, len(sites))
    size = np.abs(waves(sites))
    naive = weights_of_amplitude((size / bulk_amplitude(size)).mean(axis=1))
    patches = [p.patch for p in exact]
    counts = [
        (3.0 * np.abs(direct_structure_factor(p.q(), crystal)) ** 2).reshape(p.shape)
        for p in patches
    ]
    shard = local_shard(Diffraction(patches, counts), Communicator())
    factor = StructureFactor(patches, 1e-5)
    misfit = PoissonMisfit(shard, factor, None, 0.05, 3.0 * len(crystal))
    first = weights[0] > 0.5
    chooser = CandidateSites(misfit, aluminium(), sites, first)
    choices = [chooser.choose(row > 0.5, 2) for row in weights]

    def wrong(taken):
        metrics = evaluate(sites[taken], crystal, with_resolution=False)
        return metrics.n_missing + metrics.n_extra

    best = min(choices, key=lambda choice: choice.value)
    assert wrong(best.taken) == min(wrong(choice.taken) for choice in choices)
    assert wrong(best.taken) < 0.5 * wrong(naive > 0.5)
