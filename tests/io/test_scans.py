"""Raw rocking scans in files: what is written is read, and nothing of the truth is in them."""

from __future__ import annotations

import importlib.util

import h5py
import numpy as np
import pytest
import rocking

from prammol.core.errors import DataError, InputError
from prammol.diffraction.curved_patch import CurvedPatch
from prammol.diffraction.photon_flux import form_factor
from prammol.io import read_diffraction
from prammol.io.scans import write_scans, write_truth
from prammol.simulation.averages import innermost_patches
from prammol.simulation.instrument import instrument_of
from prammol.simulation.scans import simulate_scans
from prammol.structure.atoms import Atoms

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("xrayutilities") is None, reason="xrayutilities isn't installed"
)

VALUES = {
    "beam": {"flux": 3e19, "wavelength": rocking.WAVELENGTH},
    "scans": {
        "step": 2.5, "images": 12, "exposure": [1.0, 2.0, 0.5], "scale": [1.0, 0.8, 1.3],
        "offset": 0.004, "rotation": 0.05, "offset_uncertainty": 0.003,
    },
    "detector": {
        "pixel_size": 4 * rocking.PIXEL, "distance": rocking.DISTANCE, "shape": [13, 14],
        "gap_columns": [[2, 3]], "hot_pixels": 0.03, "zingers": 0.01, "saturation": 3e3,
        "dead_time": 1e-6, "count_time": 0.1, "background": 0.2, "hump": 3, "fill": 0.3,
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def simulated():
    atoms = Atoms(np.random.default_rng(1).uniform(-6, 6, (60, 3)), "Al")
    made = instrument_of(VALUES)
    return made, *simulate_scans(atoms, made, 3, innermost_patches(atoms, 2, half_width=0.5))


@pytest.fixture
def path(tmp_path, simulated):
    made, scans, _ = simulated
    write_scans(tmp_path / "s.h5", scans, made, "Al")
    return tmp_path / "s.h5"


def test_scans_are_read_back(path, simulated):
    _, scans, _ = simulated
    data = read_diffraction(path)
    assert data.meta == {"element": "Al", "form_factor": "q"}
    peaks = np.linalg.norm(data.peaks(), axis=1)
    unit = np.mean([form_factor("Al", g) ** 2 for g in peaks])
    assert (data.geometry.offset, data.geometry.rotation) == (0.003, 1e-3)
    d, row, column = (
        rocking.DISTANCE / (4 * rocking.PIXEL), np.arange(13)[:, None] - 6, np.arange(14) - 6.5,
    )  # fmt: skip
    far = np.sqrt(d**2 + row**2 + column**2)
    for k, (scan, exposure) in enumerate(zip(scans, (1.0, 2.0, 0.5), strict=True)):
        patch, angles = data.patches[k], scan.angles
        assert isinstance(patch, CurvedPatch)
        lab = rocking.PIXEL
        try:
            rocking.PIXEL = 4 * lab
            named = [angles[name] for name in ("eta", "chi", "phi", "nu", "delta")]
            q = rocking.scattering_vectors(*named, (6.0, 6.5), (13, 14))
        finally:
            rocking.PIXEL = lab
        np.testing.assert_allclose(patch.points, q, atol=1e-10)
        assert (data.counts[k] == scan.counts).all()
        good = (scan.mask == 0) & (scan.counts < 3000)
        assert (data.valid[k] == good).all()
        # solid angle, horizontal polarisation, monitor, dead time
        known = (d / far) ** 3 * (1 - (column / far) ** 2) * exposure
        known = known * (1 - np.where(good, scan.counts, 0) * 1e-5)
        f = [form_factor("Al", g) for g in np.linalg.norm(q.reshape(-1, 3), axis=1)]
        known = known * np.square(f).reshape(known.shape) / unit
        np.testing.assert_allclose(data.gain[k], known, rtol=2e-3)
    assert any((~v & (s.mask == 0)).any() for v, s in zip(data.valid, scans, strict=True))


def everything(group):
    found = []
    group.visititems(lambda name, item: found.append((name, item)))
    return dict(found)


def test_the_truth_isnt_where_a_reader_looks(path, tmp_path, simulated):
    _, scans, truths = simulated
    write_truth(tmp_path / "t.h5", truths)
    hidden = [np.asarray(v) for t in truths for v in (t.offset, t.rotation, t.scale, t.peak)]
    with h5py.File(path) as file:
        items = everything(file)
        for name, item in items.items():
            if isinstance(item, h5py.Dataset) and item.dtype.kind == "f":
                values = item[...].ravel()
                for true in hidden:
                    assert not np.isclose(values[:, None], true.ravel(), rtol=1e-6).any(), name
        names = {name.rpartition("/")[2] for name in items}
    assert not names & {"offset", "rotation", "scale", "zingers", "signal", "background", "flux"}
    with h5py.File(tmp_path / "t.h5") as file:
        for k, true in enumerate(truths, start=1):
            entry = file[f"entry_{k}"]
            assert (entry["truth_1/offset"][...] == true.offset).all()
            assert entry["truth_1/scale"][()] == true.scale
            assert (entry["data_1/signal"][...] == true.signal).all()
            assert (entry["data_1/zingers"][...] == true.zingers).all()
    # and it changes nothing but the counts
    other = instrument_of({**VALUES, "scans": {**VALUES["scans"], "offset": 0.0, "scale": None}})
    write_scans(tmp_path / "o.h5", scans, other, "Al")
    with h5py.File(path) as one, h5py.File(tmp_path / "o.h5") as two:
        a, b = everything(one), everything(two)
        assert set(a) == set(b)
        for name in a:
            if isinstance(a[name], h5py.Dataset) and name != "time":
                assert np.array_equal(a[name][()], b[name][()]), name


def test_monitor_mask_and_angles_may_be_of_images_or_missing(path):
    before = read_diffraction(path)
    with h5py.File(path, "r+") as file:
        for k in (1, 2, 3):
            entry = file[f"entry_{k}"]
            monitor = entry["instrument_1/beam_1/monitor"][()]
            del entry["instrument_1/beam_1/monitor"], entry["sample_1/chi"]
            entry["instrument_1/beam_1/monitor"] = monitor * np.full(12, 7.0)
            entry["sample_1/chi"] = np.full(12, 90.0 - 0 * k)
            mask = entry["instrument_1/detector_1/mask"][...]
            del entry["instrument_1/detector_1/mask"], entry["instrument_1/sample_circles"]
            entry["instrument_1/detector_1/mask"] = np.broadcast_to(mask, (12, 13, 14))
    after = read_diffraction(path)
    for k in range(3):
        np.testing.assert_allclose(before.gain[k], after.gain[k])
        assert (before.valid[k] == after.valid[k]).all()
    with h5py.File(path, "r+") as file:
        for k in (1, 2, 3):
            del file[f"entry_{k}/instrument_1/beam_1/monitor"]
            del file[f"entry_{k}/instrument_1/detector_1/mask"]
            del file[f"entry_{k}/instrument_1/detector_1/dead_time"]
            del file[f"entry_{k}/sample_1/element"]
    bare = read_diffraction(path)
    assert "element" not in bare.meta
    assert "form_factor" not in bare.meta
    np.testing.assert_allclose(bare.gain[1], bare.gain[0], rtol=0.1)


def test_curved_crystals_frames_agree(path, simulated):
    """The true scattering vectors are those of the file but for the hidden offset and rotation."""
    _, _, truths = simulated
    data = read_diffraction(path)
    for patch, true in zip(data.patches, truths, strict=True):
        inside = np.linalg.norm(patch.q() - true.peak, axis=1).min()
        assert inside < np.linalg.norm(patch.step, axis=1).max()


def put(name, value, k=1):
    def change(file):
        place = f"entry_{k}/{name}"
        if place in file:
            del file[place]
        if value is not None:
            file[place] = value

    return change


CAMERA, BEAM = "instrument_1/detector_1", "instrument_1/beam_1"


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (put(f"{CAMERA}/data", None), "detector_1/data is missing, expected an array of shape"),
        (put(f"{CAMERA}/data", np.ones((3, 4))), "has shape"),
        (put(f"{CAMERA}/data", -np.ones((12, 13, 14))), "contain negative numbers"),
        (put(f"{CAMERA}/mask", np.ones((3, 4), int)), "mask has shape"),
        (put(f"{CAMERA}/mask", np.ones((13, 14))), "expected integers"),
        (put(f"{CAMERA}/distance", None), "distance is missing"),
        (put(f"{CAMERA}/distance", -1.0), "expected positive numbers"),
        (put(f"{CAMERA}/beam_centre", 3.0), "beam_centre has shape"),
        (put(f"{CAMERA}/delta", None), "delta is missing"),
        (put(f"{CAMERA}/delta", np.nan), "an angle isn't a finite number"),
        (put(f"{CAMERA}/dead_time", 1.0), "more than there is between two photons"),
        (put(f"{CAMERA}/count_time", 0.0), "dead_time is"),
        (put(f"{BEAM}/incident_wavelength", "x"), "expected real numbers"),
        (put(f"{BEAM}/incident_wavelength", 0.0), "expected positive numbers"),
        (put(f"{BEAM}/monitor", np.zeros(12)), "monitor isn't positive everywhere"),
        (put(f"{BEAM}/monitor", np.ones(5)), "monitor has shape"),
        (put(f"{BEAM}/polarisation", "up"), "the polarisation is 'up', expected one of"),
        (put("sample_1/eta", np.ones(5)), "eta has shape"),
        (put("sample_1/phi", None), "phi is missing"),
        (put("instrument_1/sample_circles", "eta"), "sample_circles is 'eta', expected 'eta y-"),
        (put("instrument_1/sample_circles", "eta q+"), "the axes are"),
        (put("instrument_1/pixel_directions", "z-"), "2 pixel directions"),
        (put("process_1/geometry/offset_uncertainty", -1.0), "uncertainty of the offset is -1"),
    ],
)  # fmt: skip
def test_wrong_scans_are_one_sentence(path, change, text):
    with h5py.File(path, "r+") as file:
        change(file)
    with pytest.raises((InputError, DataError), match=text) as caught:
        read_diffraction(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
