"""The benchmark against peers: its reference, and that it runs."""

from __future__ import annotations

import csv
import os
import subprocess
import sys

import numpy as np
import pytest
from numpy.testing import assert_allclose
from processes import ROOT

from prammol.diffraction.bragg_patch import paper_patches
from prammol.diffraction.structure_factor import StructureFactor

BENCHMARKS = ROOT / "benchmarks"


@pytest.fixture
def extended_sum(monkeypatch):
    """The module, which lies beside the benchmarks."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import extended_sum

    return extended_sum


def test_the_reference_is_structure_factor_and_moments(extended_sum, rng):
    patches = paper_patches(5)
    x = rng.uniform(-20, 20, (30, 3))
    factor = StructureFactor(patches, 1e-12)
    flat = rng.permutation(factor.size)
    corners, steps = np.array([p.origin for p in patches]), np.array([p.step for p in patches])
    q = extended_sum.scattering_vectors(corners, steps, 5, flat)
    assert_allclose(q.astype(float), factor.q[flat], atol=1e-14)
    omega = extended_sum.structure_factor(q, x)
    assert_allclose(omega.astype(complex), factor.forward(x)[flat], atol=1e-10)
    field = rng.normal(size=factor.size) + 1j * rng.normal(size=factor.size)
    found = extended_sum.moments(q, field[flat], x)
    assert_allclose(found.astype(complex), factor.adjoint_moments(field, x), atol=1e-8)


def test_the_reference_has_the_digits_of_extended_precision(extended_sum):
    if np.finfo(np.longdouble).eps > 1e-18:
        pytest.skip("no extended precision here")
    # 2 pi to 20 digits times 1000, which doubles miss by 2e-13
    turns = np.longdouble("6283.1853071795864769")
    q, x = np.array([[turns, 0, 0]]), np.array([[1.0, 0.0, 0.0]])
    assert abs(extended_sum.structure_factor(q, x)[0] - 1) < 1e-15


def test_the_benchmark_runs_and_its_errors_are_of_the_size_asked_for(tmp_path):
    table = tmp_path / "table.csv"
    options = ["--cases", "100x8", "--turns", "1", "--only", "numpy", "LAMMPS", "ducc0", "prammol"]
    done = subprocess.run(
        [sys.executable, BENCHMARKS / "side_by_side.py", *options, "-o", table],
        check=True,
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(BENCHMARKS.parent)},
    )
    assert "target at most" in done.stdout
    with table.open(encoding="utf-8", newline="") as file:
        rows = {(r["contestant"], r["task"]): r for r in csv.DictReader(file)}
    assert rows["LAMMPS", "gradient"]["remark"] == "intensities only"
    for (name, task), row in rows.items():
        if (name, task) == ("LAMMPS", "gradient"):
            continue
        exact = name in {"numpy", "LAMMPS"}
        assert float(row["error"]) < (1e-13 if exact else 3e-9), (name, task)
        assert float(row["seconds"]) > 0
        if not exact:
            assert float(row["error"]) > 1e-14  # not compared with itself
