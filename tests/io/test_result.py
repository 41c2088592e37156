"""Reconstructions in files: round trips and bad input in one sentence."""

from __future__ import annotations

import json
from dataclasses import replace

import h5py
import numpy as np
import pytest
from small_crystal import fcc_ball

from prammol.core.errors import InputError
from prammol.io import (
    read_reconstruction,
    write_reconstruction,
)
from prammol.reconstruction.result import Cause, Reconstruction
from prammol.structure import LATTICES, Atoms, crystal_fields

N = 37


def edit(path, name, values):
    with h5py.File(path, "a") as f:
        del f[name]
        if values is not None:
            f[name] = values


def test_a_reconstruction_is_read_as_written(tmp_path, result):
    write_reconstruction(tmp_path / "r.h5", result)
    back = read_reconstruction(tmp_path / "r.h5")
    np.testing.assert_array_equal(back.atoms.positions, result.atoms.positions)
    np.testing.assert_array_equal(back.atoms.columns["energy"], result.atoms.columns["energy"])
    assert back.atoms.element == "Al"
    assert back.atoms.info == {"a": 1}
    assert back.history == result.history
    assert back.settings == {"fit_positions.fraction": 0.005, "stop": {"patience": 100}}
    for name in "scale converged reason wall_s core_s ranks seed preset provenance".split():
        assert getattr(back, name) == getattr(result, name)
        assert type(getattr(back, name)) is type(getattr(result, name))
    assert back.iterations == 3


CAUSES = (
    Cause("inverted mask", "", float("nan"), float("nan")),
    Cause("offset", "patch 2", 0.92, 810.5),
    Cause("blur", "", 0.3, 264.0),
)


def test_causes_of_a_misfit_are_read_as_written(tmp_path, result):
    result = replace(result, diagnosis=CAUSES, history=[{"iteration": 3, "excess": 8.91}])
    write_reconstruction(tmp_path / "r.h5", result)
    back = read_reconstruction(tmp_path / "r.h5")
    assert repr(back.diagnosis) == repr(CAUSES)  # NaN isn't equal to itself
    assert back.misfit_sigma == 8.91
    with h5py.File(tmp_path / "r.h5") as f:
        found = f["entry_1/process_1/results/diagnosis"]
        assert found["summary"][()].decode() == result.misfit_text()


def test_a_misfit_in_words(result):
    history = [{"iteration": 3, "excess": 8.91}]
    result = replace(result, history=history, diagnosis=CAUSES[1:])
    text = "8.91 sigma beyond noise; an offset of patch 2 would explain 92 % of it"
    assert result.misfit_text() == text
    assert result.summary()["cause"] == "an offset of patch 2"
    assert replace(result, diagnosis=CAUSES[2:]).misfit_text().endswith(
        "no single effect explains most of it, partial coherence or the size of the pixels 30 %"
    )  # fmt: skip
    atom = Cause("addition", "1.0, 2.0, 3.0 Å", float("nan"), 10066.0)
    assert atom.text() == "one atom more at 1.0, 2.0, 3.0 Å would raise the log-likelihood by 10066"
    assert CAUSES[0].text() == CAUSES[0].name
    good = replace(result, history=[{"iteration": 3, "excess": -0.5}], diagnosis=())
    assert good.misfit_text() == "0.5 sigma below the mean of noise"
    assert good.summary()["cause"] is None
    assert replace(good, history=[]).misfit_text() == "unknown"


@pytest.mark.parametrize("name", ["effect", "gain"])
def test_damaged_causes_are_one_sentence(tmp_path, result, name):
    write_reconstruction(tmp_path / "r.h5", replace(result, diagnosis=CAUSES))
    at = f"entry_1/process_1/results/diagnosis/{name}"
    edit(tmp_path / "r.h5", at, None)
    with pytest.raises(InputError, match=name):
        read_reconstruction(tmp_path / "r.h5")
    write_reconstruction(tmp_path / "s.h5", replace(result, diagnosis=CAUSES))
    edit(tmp_path / "s.h5", "entry_1/process_1/results/diagnosis/gain", [1.0])
    with pytest.raises(InputError, match="differ in length"):
        read_reconstruction(tmp_path / "s.h5")


def test_a_reconstruction_without_history(tmp_path, atoms):
    write_reconstruction(tmp_path / "r.h5", Reconstruction(atoms=atoms, scale=1.0))
    back = read_reconstruction(tmp_path / "r.h5")
    assert back.history == []
    assert back.iterations == 0
    np.testing.assert_array_equal(back.atoms.columns["surface"], atoms.columns["surface"])


def test_viewers_show_atoms_first(tmp_path, result):
    write_reconstruction(tmp_path / "r.h5", result)
    with h5py.File(tmp_path / "r.h5") as f:
        data = f["entry_1"][f["entry_1"].attrs["default"]]
        assert data.attrs["NX_class"] == "NXdata"
        x, y = (data[name] for name in data.attrs["axes"])
        shown = data[data.attrs["signal"]]
        assert (x.attrs["units"], y.attrs["units"]) == ("angstrom", "angstrom")
        assert shown.attrs["units"] == "eV"
        assert x.shape == y.shape == shown.shape
        positions = result.atoms.positions
        inside = np.abs(positions[:, 2] - np.median(positions[:, 2])) <= 1.5
        assert 0 < inside.sum() < N
        np.testing.assert_array_equal(x[:], positions[inside, 0])
        np.testing.assert_array_equal(shown[:], result.atoms.columns["energy"][inside])


def test_columns_of_the_lattice_have_units(tmp_path):
    x = fcc_ball(9.0)
    fields, info = crystal_fields(x, LATTICES["fcc"])
    write_reconstruction(tmp_path / "r.h5", Reconstruction(Atoms(x, "Al", fields, info), 1.0))
    with h5py.File(tmp_path / "r.h5") as f:
        columns = f["entry_1/result_1/columns"]
        units = {name: columns[name].attrs["units"] for name in columns}
        assert columns["strain"].attrs["components"] == "xx yy zz xy xz yz"
        assert columns["structure_type"].attrs["values"].split()[1] == "fcc"
    assert units == {
        "displacement": "angstrom",
        "strain": "",
        "coordination": "",
        "centro_symmetry": "angstrom^2",
        "structure_type": "",
    }
    back = read_reconstruction(tmp_path / "r.h5").atoms
    for name, values in fields.items():
        np.testing.assert_array_equal(back.columns[name], values)
    assert back.info["lattice_constant"] == info["lattice_constant"]


def test_the_likelihood_is_where_pynx_puts_it(tmp_path, result):
    write_reconstruction(tmp_path / "r.h5", result)
    with h5py.File(tmp_path / "r.h5") as f:
        last = result.history[-1]["log_likelihood"]
        assert f["entry_1/image_1/process_1/results/llk_poisson"][()] == last
        data = f["entry_1/data_2"]
        assert data[data.attrs["signal"]][-1] == last
        assert f["entry_1/result_1/positions"].attrs["units"] == "angstrom"
        assert json.loads(f["entry_1/process_1/provenance"][()])["command"]


@pytest.mark.parametrize(
    ("name", "values", "expected"),
    [
        ("result_1/positions", np.ones((4, 2)), r"positions has shape \(4, 2\), expected \(n, 3\)"),
        ("result_1/positions", np.full((N, 3), np.nan), "finite"),
        ("result_1/positions", None, "positions is missing"),
        ("result_1/columns/energy", np.ones(4), "energy"),
        ("result_1/element", None, "element is missing"),
        ("process_1/results/scale", None, "scale is missing"),
        ("process_1/results/history/atoms", np.ones(2), "differ in length"),
    ],
)
def test_a_bad_reconstruction_is_one_sentence(tmp_path, result, name, values, expected):
    write_reconstruction(tmp_path / "r.h5", result)
    edit(tmp_path / "r.h5", f"entry_1/{name}", values)
    with pytest.raises(InputError, match=rf"r\.h5.*{expected}"):
        read_reconstruction(tmp_path / "r.h5")
