"""Two reconstructions: what was changed by hand is found, chance is called chance."""

from __future__ import annotations

import json

import numpy as np
import pytest
from small_crystal import fcc_ball

from prammol.cli.main import run
from prammol.core.errors import InputError
from prammol.evaluation.comparison import compare
from prammol.io import read_atoms, write_reconstruction
from prammol.reconstruction.result import Reconstruction
from prammol.structure.atoms import Atoms

SIGMA = 0.02  # Å


def crystal(seed=0, confidence=1.0, x=None):
    """A ball whose atoms are off by what their error bars say."""
    rng = np.random.default_rng(seed)
    x = fcc_ball(13.0) if x is None else x
    columns = {
        "position_sigma": np.full((len(x), 3), SIGMA),
        "occupancy_confidence": np.full(len(x), confidence),
    }
    return Atoms(x + rng.normal(scale=SIGMA, size=x.shape), "Al", columns)


def test_equal_crystals_differ_by_chance_alone():
    comparison = compare(crystal(1), crystal(2))
    values = comparison.summary()
    n = values["n_first"]
    assert n > 500
    assert (values["n_added"], values["n_removed"]) == (0, 0)
    assert values["n_same"] + values["n_moved"] == n
    # 5 % of them, with a binomial spread
    assert values["n_moved"] == pytest.approx(0.05 * n, abs=4 * np.sqrt(0.05 * 0.95 * n))
    assert values["n_moved_by_chance"] == pytest.approx(0.05 * n)
    assert values["reduced_chi_squared"] == pytest.approx(1, abs=4 * np.sqrt(2 / (3 * n)))
    mean_of_three = 2 * np.sqrt(2 / np.pi) * np.sqrt(2) * SIGMA * 100  # of a Maxwell distribution
    assert values["mean_distance_pm"] == pytest.approx(mean_of_three, rel=0.05)


@pytest.mark.parametrize("inverted", [False, True])
def test_moved_added_and_removed_atoms_are_named(inverted):
    x = fcc_ball(13.0)
    middle = np.linalg.norm(x, axis=1).argmin()
    corner = np.linalg.norm(x, axis=1).argmax()
    extra = x[corner] * 1.3
    y = np.delete(x, corner, axis=0)
    shift = np.array([0.4, -0.3, 0.2])
    y[middle] += shift
    y = np.concatenate([y, [extra]])
    exact = {"position_sigma": np.full((len(x), 3), 1e-3)}
    first = Atoms(x, "Al", exact | {"occupancy_confidence": np.full(len(x), 0.99)})
    moved = (-y if inverted else y) + [3.0, -2.0, 1.0]
    doubtful = np.where(np.arange(len(y)) == len(y) - 1, 0.6, 0.99)
    second = Atoms(moved, "Al", exact | {"occupancy_confidence": doubtful})
    comparison = compare(first, second)
    values = comparison.summary()
    assert values["inverted"] == inverted
    assert comparison.removed.tolist() == [corner]
    assert comparison.added.tolist() == [len(y) - 1]
    assert values["n_removed_beyond"] == 1
    assert values["n_added_beyond"] == 0  # it was doubtful
    assert comparison.second_index[comparison.moved].tolist() == [middle]
    assert values["max_distance_pm"] == pytest.approx(100 * np.linalg.norm(shift), rel=1e-6)
    np.testing.assert_allclose(comparison.second.positions, y, atol=1e-9)
    atoms = comparison.atoms()
    change = atoms.columns["change"].tolist()
    assert change[middle] == "moved"
    assert change[-2:] == ["added", "removed"]
    np.testing.assert_allclose(atoms.positions[-1], x[corner])
    assert change.count("same") == len(x) - 2


def test_without_error_bars_nothing_is_said_of_them():
    x = fcc_ball(9.0)
    comparison = compare(Atoms(x, "Al"), crystal(1, x=x))
    values = comparison.summary()
    for name in ("n_same", "n_moved", "n_moved_by_chance", "reduced_chi_squared"):
        assert values[name] is None
    assert values["n_removed_beyond"] is None
    assert values["n_added_beyond"] == 0
    assert set(comparison.atoms().columns["change"].tolist()) == {"paired"}


def test_a_rotation_is_told_but_not_applied():
    x = fcc_ball(13.0)
    turned = x @ np.array([[0, -1e-3, 0], [1e-3, 0, 0], [0, 0, 0]]).T + x
    comparison = compare(Atoms(x, "Al"), Atoms(turned, "Al"))
    assert comparison.summary()["rotation_degrees"] == pytest.approx(np.degrees(1e-3), rel=1e-3)
    assert comparison.distance_pm.max() > 1.0


def test_other_elements_are_refused():
    with pytest.raises(InputError, match="made of Al, the second of Cu"):
        compare(Atoms(fcc_ball(6.0), "Al"), Atoms(fcc_ball(6.0), "Cu"))


def written(folder, **atoms):
    for name, value in atoms.items():
        write_reconstruction(folder / f"{name}.h5", Reconstruction(value, 1.0))


def test_the_verb_prints_a_table_and_writes_json(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    written(tmp_path, a=crystal(1), b=crystal(2))
    assert run(["compare", "a.h5", "b.h5", "--json", "c.json", "--atoms", "c.xyz"]) == 0
    table = capsys.readouterr().out
    values = json.loads((tmp_path / "c.json").read_text())
    assert f"same                 {values['n_same']}" in table
    assert f"{values['n_moved']} beyond error bars, {values['n_moved_by_chance']:.3g}" in table
    assert "added                0, 0 beyond error bars" in table
    change = read_atoms(tmp_path / "c.xyz").columns["change"].tolist()
    assert change.count("moved") == values["n_moved"]
    assert run(["compare", "a.h5", "b.h5", "--json", "c.json"]) == 2
    assert "c.json" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("second", "words"),
    [
        (Atoms(fcc_ball(6.0), "Cu"), "b.h5: is made of Cu, but a.h5 of Al"),
        (None, "b.h5: no such file"),
    ],
)
def test_the_verb_refuses_in_one_sentence(tmp_path, monkeypatch, capsys, second, words):
    monkeypatch.chdir(tmp_path)
    written(tmp_path, a=crystal(1), **({} if second is None else {"b": second}))
    assert run(["compare", "a.h5", "b.h5"]) == 2
    assert words in capsys.readouterr().err
    written(tmp_path, few=Atoms(np.zeros((1, 3)), "Al"))
    assert run(["compare", "few.h5", "a.h5"]) == 2
    assert "few.h5: has 1 atoms, expected at least 2" in capsys.readouterr().err
