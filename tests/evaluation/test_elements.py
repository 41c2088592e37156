"""Wrong elements are counted."""

from __future__ import annotations

import numpy as np
import pytest
from compounds import coal_ball

from prammol.core.errors import InputError
from prammol.evaluation.comparison import compare
from prammol.evaluation.metrics import evaluate
from prammol.structure.atoms import Atoms

TRUTH = coal_ball(7.0)


def changed(swapped, without=()):
    symbols = TRUTH.symbols.copy()
    symbols[swapped] = np.where(symbols[swapped] == "Al", "Co", "Al")
    kept = np.setdiff1d(np.arange(len(TRUTH)), without)
    return Atoms.of_elements(TRUTH.positions[kept] + [5.0, 1.0, 2.0], symbols[kept])


def test_wrong_elements_are_counted_beside_missing_and_extra_atoms():
    centre = np.argsort(np.linalg.norm(TRUTH.positions - TRUTH.positions.mean(axis=0), axis=1))
    swapped, without = centre[:3], centre[-2:]
    found = evaluate(changed(swapped, without), TRUTH, with_resolution=False)
    assert (found.n_missing, found.n_extra, found.n_wrong_element) == (2, 0, 3)
    assert found.summary()["n_wrong_element"] == 3
    partner = found.truth_index[np.isin(found.found_index, found.wrong_element)]
    assert set(partner.tolist()) == set(swapped.tolist())
    other = compare(TRUTH, changed(swapped, without))
    assert other.summary()["n_element_changed"] == 3
    assert sorted(set(other.atoms().symbols.tolist())) == ["Al", "Co"]


def test_one_element_has_none_to_be_wrong():
    alone = Atoms(TRUTH.positions, "Al")
    found = evaluate(alone, alone, with_resolution=False)
    assert found.n_wrong_element is None
    assert "n_wrong_element" not in found.summary()
    assert compare(alone, alone).summary()["n_element_changed"] is None
    pure = evaluate(alone, TRUTH, with_resolution=False)
    assert pure.n_wrong_element == (TRUTH.symbols == "Co").sum()
    with pytest.raises(InputError, match="made of Al, Co, the reconstruction of Cu"):
        evaluate(Atoms(TRUTH.positions, "Cu"), TRUTH)
