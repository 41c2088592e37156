"""What counts can decide, against sums over points, Fisher information and the flux study."""

from __future__ import annotations

import csv
from collections import defaultdict
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from scipy.special import ndtr
from small_crystal import fcc_ball

from prammol.core.parallel import Communicator
from prammol.diffraction.bragg_patch import paper_patches
from prammol.diffraction.dataset import Diffraction, local_shard
from prammol.diffraction.photon_flux import patch_centre, scale_from_flux
from prammol.diffraction.structure_factor import StructureFactor
from prammol.likelihood.fisher_information import Fisher
from prammol.likelihood.prospects import (
    PatchPhotons,
    _seen,
    _wrong_part,
    measured_patches,
    prospects,
)
from prammol.potentials.lammps import Cluster
from prammol.potentials.potential import aluminium
from prammol.potentials.softness import relaxation
from prammol.reconstruction.refinement.rotation_strain import ROTATIONS

FLUX_STUDY = Path(__file__).resolve().parents[2] / "docs/results/flux.csv"
POTENTIAL = aluminium()


@cache
def soft():
    cluster = Cluster(POTENTIAL)
    found = relaxation(POTENTIAL, cluster)
    cluster.close()
    return found


def patches_at(flux, atoms, points=50, half_width=0.6, background=0.0):
    peaks = [(-1, 1, 1), (1, -1, 1), (1, 1, -1)]
    patches = paper_patches(points, 4.05, peaks, half_width)
    scale = scale_from_flux(flux, patches, "Al")
    zone = (2 * np.pi) ** 3 / POTENTIAL.atomic_volume / abs(np.linalg.det(patches[0].step))
    return [PatchPhotons(p, patch_centre(p), scale**2 * atoms * zone, background) for p in patches]


def of(flux, atoms, **kind):
    return prospects(patches_at(flux, atoms, **kind), atoms, POTENTIAL, soft())[0]


def test_one_atom_is_worth_the_photons_it_scatters():
    patches = paper_patches(30)
    scale = scale_from_flux(1e18, patches, "Al")
    assert of(1e18, 600, points=30).photons_per_atom == pytest.approx(
        scale**2 * 3 * 30**3, rel=0.01
    )


def test_background_hides_what_its_mean_over_speckles_says():
    intensity = np.random.default_rng(0).exponential(2.0, 400_000)
    for b in (0.1, 2.0, 100.0, 1500.0):
        direct = np.mean(intensity / (intensity + b))
        assert _seen(np.array([b / 2.0])) == pytest.approx(direct, rel=0.01)
    assert _seen(np.array([0.0])) == pytest.approx(1.0)
    dark, bright = of(1e16, 600), of(1e16, 600, background=10.0)
    assert bright.photons_per_atom < 0.5 * dark.photons_per_atom


def test_errors_of_the_whole_are_those_of_fisher_information():
    """Of rotations, and of an even dilatation, from sums over all points."""
    x = fcc_ball(14.0)
    patches = paper_patches(30)
    data = Diffraction(patches, [np.ones(p.shape) for p in patches])
    shard = local_shard(data, Communicator())
    factor = StructureFactor(shard.patches)
    scale = scale_from_flux(1e19, patches, "Al")
    fisher = Fisher(shard, factor, x, scale)
    # The photons of the peaks are counted, not computed.
    photons = scale**2 * np.abs(factor.forward(x)) ** 2
    shares = np.split(photons, 3)
    measured = [
        PatchPhotons(p, patch_centre(p), float(s.sum()))
        for p, s in zip(patches, shares, strict=True)
    ]
    found = prospects(measured, len(x), POTENTIAL, soft())[0]
    turns = np.array([(x - x.mean(axis=0)) @ g.T for g in ROTATIONS])
    covariance = fisher.of_maps(ROTATIONS)
    rms = np.sqrt(np.einsum("ajx,ab,bjx->", turns, covariance, turns) / len(x))
    assert found.position_pm == pytest.approx(100 * np.sqrt(8 / 3 / np.pi) * rms, rel=0.15)
    dilatation = float(np.sqrt(fisher.of_maps(np.eye(3)[None])[0, 0]))
    assert found.lattice_strain == pytest.approx(dilatation, rel=0.15)


def test_sites_that_are_measured_apart_are_wrong_as_behind_a_matched_filter():
    for strength in (0.5, 4.0, 40.0):
        expected = ndtr(-0.5 * np.sqrt(strength))
        assert _wrong_part(np.full(50, strength)) == pytest.approx(expected, rel=0.01)


def test_random_mixtures_are_wrong_as_in_tanakas_formula():
    """Binary unknowns mixed at random: IEEE Trans. Inf. Theory 48, 2888 (2002)."""
    rng = np.random.default_rng(3)
    n, m, strength = 500, 1000, 16.0
    mixed = rng.normal(size=(m, n)) / np.sqrt(m)
    part = _wrong_part(strength * np.linalg.eigvalsh(mixed.T @ mixed))
    z = rng.normal(size=200_000)
    precision = 0.0
    for _ in range(200):
        probability = 1 / (1 + np.exp(-(precision / 2 + np.sqrt(precision) * z)))
        left = np.mean(probability * (1 - probability))
        precision = strength / (1 + n / m * strength * left)
    assert part == pytest.approx(ndtr(-0.5 * np.sqrt(precision)), rel=0.1)


def test_the_flux_study():
    """4679 atoms, ten reconstructions at each of 20 fluxes: mean errors and wrong atoms."""
    rows = defaultdict(list)
    with FLUX_STUDY.open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            wrong = int(row["n_missing"]) + int(row["n_extra"])
            rows[float(row["value"])].append((wrong, float(row["mae_pm"])))
    assert len(rows) == 20
    fluxes = np.array(sorted(rows))
    found = prospects(patches_at(1e15, 4679), 4679, POTENTIAL, soft(), fluxes / 1e15)
    for flux, at in zip(fluxes, found, strict=True):
        wrong, error = np.mean(rows[flux], axis=0)
        if flux > 1e15:
            assert 1 / 1.5 < at.position_pm / error < 1.5, flux
        if wrong > 0:
            assert 1 / 2 < at.wrong_atoms / wrong < 2, flux
        else:
            assert at.wrong_atoms < 0.1, flux
        assert (at.verdict == "single atoms") == (wrong <= 0.005 * 4679), flux


def test_more_photons_are_another_flux():
    ahead = prospects(patches_at(1e14, 600), 600, POTENTIAL, soft(), (1.0, 30.0))[1].summary()
    there = of(3e15, 600).summary()
    for name, value in there.items():
        assert ahead[name] == (value if isinstance(value, str) else pytest.approx(value, 1e-3)), (
            name
        )


@pytest.mark.parametrize(
    ("half_width", "points", "flux", "verdict", "limit", "narrow"),
    [
        (0.6, 30, 1e18, "single atoms", "nothing", False),
        (0.6, 30, 1e14, "layers", "photons", False),
        (0.15, 12, 1e18, "layers", "width of the patches", True),
        (0.15, 12, 1e20, "layers", "width of the patches", True),
        (0.6, 8, 1e18, "single atoms", "sampling", False),
    ],
)
def test_what_limits(half_width, points, flux, verdict, limit, narrow):
    found = of(flux, 1300, points=points, half_width=half_width)
    assert (found.verdict, found.limit, found.too_narrow) == (verdict, limit, narrow)
    assert limit in found.text()


def test_a_faint_peak_leaves_only_shape_and_strain():
    assert of(1e13, 30_000, points=16, half_width=0.05).verdict == "only shape and strain"


def test_resolving_photons_resolve():
    factor = of(1e14, 1300).resolving_factor
    below, above = (of(1e14 * f * factor, 1300) for f in (0.97, 1.03))
    assert below.verdict == "layers"
    assert above.verdict == "single atoms"
    assert above.wrong_atoms == pytest.approx(0.01 * above.doubtful_sites, rel=0.2)


def test_the_inside_of_a_large_crystal_makes_its_surface_no_better():
    """300 nm of which hardly a surface site is measured: 0.4 % of all its atoms are wrong."""
    atoms = 8.5e8
    found = of(4e10, atoms, points=64, half_width=0.05)
    assert found.wrong_atoms < 0.005 * atoms
    assert found.verdict == "only shape and strain"


def test_photons_and_background_are_read_from_counts():
    patches = paper_patches(10)
    counts = [np.full(p.shape, 5.0) for p in patches]
    for c in counts:
        c[5, 5, 5] = 1000.0
    data = Diffraction(patches, counts, background=[np.full(p.shape, 4.0) for p in patches])
    first = measured_patches(data)[0]
    assert first.photons == pytest.approx(999 * 1 + 996)
    assert first.background == pytest.approx(4.0)
