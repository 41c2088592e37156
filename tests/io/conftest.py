"""Atoms, counts and a reconstruction with everything a file may hold."""

from __future__ import annotations

import numpy as np
import pytest

from prammol.diffraction.bragg_patch import BraggPatch, paper_patches
from prammol.diffraction.dataset import Diffraction
from prammol.reconstruction.result import Reconstruction
from prammol.structure.atoms import Atoms

RNG = np.random.default_rng(0)


N = 37


@pytest.fixture
def atoms() -> Atoms:
    return Atoms(
        RNG.normal(scale=20, size=(N, 3)),
        "Al",
        columns={
            "energy": RNG.normal(size=N),
            "truth_index": np.arange(N),
            "error": RNG.normal(size=(N, 3)),
            "surface": RNG.random(N) < 0.5,
            "how": np.array(["kept", "made"] * (N // 2) + ["kept"]),
        },
        info={
            "potential": "Al99.eam.alloy",
            "seed": 3,
            "energy": -12.5,
            "note": 'a "quoted" note, with = and \\',
            "shift": [1.0, 2.5, -3.0],
            "relaxed": True,
        },
    )


@pytest.fixture
def data() -> Diffraction:
    patches = paper_patches(points=6)
    skew = BraggPatch([1, 2, 3], [[0.1, 0.01, 0], [0, 0.1, 0.02], [0.03, 0, 0.1]], (4, 5, 6))
    patches = [*patches, skew]
    counts = [RNG.poisson(40, p.shape).astype(float) for p in patches]
    counts[3] += 0.25
    valid = [RNG.random(p.shape) < 0.9 for p in patches]
    meta = {
        "element": "Al",
        "flux": 1e20,
        "scale": 0.19,
        "seed": 5,
        "temperature": None,
        "thermal": True,
        "lattice": np.array([4.05, 4.05]),
        "nested": {"a": [1, "x"]},
    }
    return Diffraction(patches, counts, valid, meta)


@pytest.fixture
def result(atoms) -> Reconstruction:
    history = [
        {
            "iteration": i,
            "log_likelihood": -1e6 / (i + 1),
            "atoms": 30 + i,
            "selected": i == 1,
            "scale": 0.2,
            "stages": {"relax": 0.5 * i},
        }
        for i in range(4)
    ]
    return Reconstruction(
        Atoms(atoms.positions, "Al", {"energy": atoms.columns["energy"]}, {"a": 1}),
        scale=0.19,
        history=history,
        converged=True,
        reason="patience",
        wall_s=3.5,
        core_s=7.0,
        ranks=2,
        seed=9,
        preset="paper",
        settings={"fit_positions.fraction": np.float64(0.005), "stop": {"patience": 100}},
        provenance={"command": "prammol reconstruct"},
    )
