"""Known factors, the uncertainty of the geometry and what was fitted of it: in files and back."""

from __future__ import annotations

from dataclasses import replace

import h5py
import numpy as np
import pytest
from numpy.testing import assert_array_equal
from states import state_of

from prammol.cli.main import run
from prammol.core.errors import InputError
from prammol.diffraction.bragg_patch import paper_patches
from prammol.diffraction.calibration import Calibration, GeometryUncertainty
from prammol.diffraction.matter import Matter
from prammol.diffraction.support import Support
from prammol.io import (
    read_diffraction,
    read_reconstruction,
    write_diffraction,
    write_reconstruction,
)
from prammol.io.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from prammol.io.run_identity import identity
from prammol.potentials.potential import aluminium
from prammol.reconstruction.presets import get_preset

GEOMETRY = "entry_1/process_1/geometry"


@pytest.fixture
def seen(rng):
    return Calibration(
        np.array([1.0, 0.8, 1.3]),
        rng.normal(size=(3, 3)) / 99,
        rng.normal(size=(3, 3)) / 999,
        tuple(rng.random((4, 3, 2 + k)) for k in range(3)),
        {"flat": np.array([1.0, 0.0, 2.0]), "diffuse": np.array([0.5, 0.25, 0.0])},
        np.array([0.5, 0.0, 0.25]),
        np.array([0.01, np.nan, 0.02]),
        Matter(rng.normal(size=(5, 3)), rng.random(5), 3.5),
    )


def require_same_terms(again, seen):
    assert_array_equal(again.blur, seen.blur)
    assert_array_equal(again.blur_error, seen.blur_error)
    assert_array_equal(again.matter.positions, seen.matter.positions)
    assert_array_equal(again.matter.weights, seen.matter.weights)
    assert again.matter.freedom == seen.matter.freedom
    assert set(again.terms) == set(seen.terms)
    for name, photons in seen.terms.items():
        assert_array_equal(again.terms[name], photons)
    assert len(again.background) == len(seen.background)
    for a, b in zip(again.background, seen.background, strict=True):
        assert_array_equal(a, b)


@pytest.mark.parametrize("kind", ["constant", "array"])
def test_files_keep_the_gain(tmp_path, data, rng, kind):
    gain = [rng.uniform(0.5, 2.0, p.shape) for p in data.patches]
    if kind == "constant":
        gain = [np.full(p.shape, 2.5) for p in data.patches]
    write_diffraction(tmp_path / "d.h5", replace(data, gain=gain))
    for a, b in zip(read_diffraction(tmp_path / "d.h5").gain, gain, strict=True):
        assert_array_equal(a, b)
    with h5py.File(tmp_path / "d.h5", "r+") as file:
        assert (file["entry_1/image_1/gain"].shape == ()) == (kind == "constant")
        for k in range(1, len(gain) + 1):
            del file[f"entry_{k}/image_1/gain"]
    assert not read_diffraction(tmp_path / "d.h5").gain


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (-1.0, "gain of patch 2 has points that aren't positive numbers"),
        (np.nan, "gain of patch 2 has points that aren't positive numbers"),
        (np.ones((2, 2)), r"gain has shape \(2, 2\), expected \(6, 6, 6\)"),
        ("one", "gain has type"),
    ],
)
def test_a_wrong_gain_is_one_sentence(tmp_path, data, value, message):
    write_diffraction(tmp_path / "d.h5", data)
    with h5py.File(tmp_path / "d.h5", "r+") as file:
        file["entry_2/image_1/gain"] = value
    with pytest.raises(InputError, match=message) as error:
        read_diffraction(tmp_path / "d.h5")
    assert "\n" not in str(error.value)
    assert str(error.value).count("d.h5") == 1


def test_files_say_how_well_the_geometry_is_known(tmp_path, data):
    for geometry in (
        GeometryUncertainty(),
        GeometryUncertainty.none(),
        GeometryUncertainty(0.01, 2e-3),
    ):
        write_diffraction(tmp_path / "d.h5", replace(data, geometry=geometry), force=True)
        assert read_diffraction(tmp_path / "d.h5").geometry == geometry
    with h5py.File(tmp_path / "d.h5", "r+") as file:
        del file[GEOMETRY]
    assert read_diffraction(tmp_path / "d.h5").geometry == GeometryUncertainty()


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("offset_uncertainty", -0.1, "uncertainty of the offset is -0.1, expected 0 to 1"),
        ("rotation_uncertainty", np.nan, "uncertainty of the rotation is nan"),
        ("rotation_uncertainty", None, "rotation_uncertainty is missing"),
        ("offset_uncertainty", "wide", "offset_uncertainty has type"),
        ("offset_uncertainty", np.ones(3), r"offset_uncertainty has shape \(3,\)"),
    ],
)
def test_a_wrong_geometry_is_one_sentence(tmp_path, data, name, value, message):
    write_diffraction(tmp_path / "d.h5", data)
    with h5py.File(tmp_path / "d.h5", "r+") as file:
        del file[f"{GEOMETRY}/{name}"]
        if value is not None:
            file[f"{GEOMETRY}/{name}"] = value
    with pytest.raises(InputError, match=message) as error:
        read_diffraction(tmp_path / "d.h5")
    assert "\n" not in str(error.value)
    assert str(error.value).count("d.h5") == 1


def test_a_result_keeps_its_calibration(tmp_path, result, seen):
    write_reconstruction(tmp_path / "plain.h5", result)
    assert read_reconstruction(tmp_path / "plain.h5").calibration is None
    write_reconstruction(tmp_path / "r.h5", replace(result, calibration=seen))
    again = read_reconstruction(tmp_path / "r.h5").calibration
    for name in ("amplitude", "offset", "rotation"):
        assert_array_equal(getattr(again, name), getattr(seen, name))
    require_same_terms(again, seen)
    with h5py.File(tmp_path / "r.h5", "r+") as file:
        (place,) = [p for p in _paths(file) if p.endswith("/calibration")]
        np.testing.assert_allclose(file[f"{place}/scale"], result.scale * seen.amplitude)
        del file[f"{place}/offset"]
        file[f"{place}/offset"] = np.zeros((2, 3))
    with pytest.raises(InputError, match=r"offset has shape \(2, 3\), expected \(3, 3\)"):
        read_reconstruction(tmp_path / "r.h5")


def _paths(file):
    found = []
    file.visit(found.append)
    return found


def test_a_checkpoint_keeps_the_calibration(tmp_path, seen):
    state = state_of(np.arange(9.0).reshape(3, 3), 2.0, iteration=1)
    for calibration in (None, seen):
        one = replace(state, model=replace(state.model, calibration=calibration))
        write_checkpoint(tmp_path / "c.h5", Checkpoint(one, [{"iteration": 1}], {}), force=True)
        again = read_checkpoint(tmp_path / "c.h5").state.model.calibration
        if calibration is None:
            assert again is None
            continue
        for name in ("amplitude", "offset", "rotation"):
            assert_array_equal(getattr(again, name), getattr(calibration, name))
        require_same_terms(again, calibration)


def test_gain_and_geometry_are_part_of_the_identity_of_a_run(rng, data):
    patches = paper_patches(4)
    counts = [rng.poisson(5.0, p.shape).astype(float) for p in patches]
    own = replace(data, patches=patches, counts=counts, valid=(), background=())
    support = Support(np.zeros(3), np.eye(3), np.ones((2, 2, 2), dtype=bool))
    args = (support, aluminium(), get_preset("default"), 1)
    gain = [np.full(p.shape, 2.0) for p in patches]
    others = [own, replace(own, gain=gain), replace(own, geometry=GeometryUncertainty.none())]
    assert len({identity(other, *args)["counts"] for other in others}) == len(others)


def test_the_command_line_says_how_well_the_geometry_is_known(small, tmp_path, capsys):
    """0 means exactly; what isn't a number is refused before anything is read."""
    assert read_diffraction(small / "d.h5").geometry.known
    command = ["reconstruct", str(small / "d.h5"), "--support", str(small / "u.h5")]
    command += ["-o", str(tmp_path / "r.h5")]
    for wrong in ("-1", "nan", "some", "inf", "0.0.0"):
        assert run([*command, "--offset-uncertainty", wrong]) == 2
        message = f"--offset-uncertainty: {wrong!r} isn't a number of at least 0"
        assert message in capsys.readouterr().err
    assert run([*command, "--rotation-uncertainty", "90"]) == 2
    assert "uncertainty of the rotation is 1.57" in capsys.readouterr().err
