"""docs/tutorials/narrow-patches.md on the crystal that it makes."""

from __future__ import annotations

import re

import numpy as np
import pytest
from processes import ROOT
from scipy.spatial import cKDTree

from prammol.io import read_reconstruction
from prammol.potentials.potential import aluminium
from prammol.structure.crystal_fields import crystal_fields

PAGE = ROOT / "docs" / "tutorials" / "narrow-patches.md"


@pytest.mark.slow
def test_the_page_tells_the_strain(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (text,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)
    names: dict[str, object] = {}
    exec(compile(text, str(PAGE), "exec"), names)
    truth = names["truth"].positions
    assert names["data"].total_counts == pytest.approx(4e5, rel=0.05)  # as the page says

    result = read_reconstruction("r.h5")
    assert not result.converged
    found = result.atoms.positions
    # Counts don't tell where it is, nor which of it and its inverse.
    laid = min(
        (sign * (found - found.mean(axis=0)) + truth.mean(axis=0) for sign in (1, -1)),
        key=lambda y: np.sum(cKDTree(truth).query(y)[0] ** 2),
    )
    gap, near = cKDTree(truth).query(laid)
    same = gap < 0.5
    assert same.mean() > 0.97
    true = crystal_fields(truth, aluminium().lattice)[0]["strain"]
    error = result.atoms.columns["strain_mean"][same] - true[near[same]]
    assert np.isfinite(error).all(axis=1).mean() > 0.9
    # From the potential's own shape: far nearer than no strain at all.
    assert np.sqrt(np.nanmean(error**2)) < 0.3 * np.sqrt(np.nanmean(true**2))
