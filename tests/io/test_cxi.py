"""Diffraction and supports in CXI files: round trips, foreign files, and bad input."""

from __future__ import annotations

import dataclasses
import sys

import h5py
import hdf5plugin
import numpy as np
import pytest
from processes import run

from prammol.core.errors import DataError, InputError
from prammol.diffraction.support import Support
from prammol.io import (
    read_diffraction,
    read_reconstruction,
    read_support,
    write_diffraction,
    write_reconstruction,
    write_support,
)

RNG = np.random.default_rng(0)


def test_diffraction_is_read_as_written(tmp_path, data):
    path = tmp_path / "d.h5"
    data = dataclasses.replace(data, unmeasured=RNG.normal(size=(2, 3)))
    write_diffraction(path, data, provenance={"command": "prammol simulate"})
    back = read_diffraction(path)
    assert back.source == str(path)
    np.testing.assert_array_equal(back.unmeasured, data.unmeasured)
    for a, b in zip(data.patches, back.patches, strict=True):
        np.testing.assert_array_equal(a.origin, b.origin)
        np.testing.assert_array_equal(a.step, b.step)
        assert a.shape == b.shape
    for a, b in zip(data.counts, back.counts, strict=True):
        np.testing.assert_array_equal(a, b)
        whole = np.array_equal(a, np.rint(a))
        assert a.dtype == b.dtype == (np.int32 if whole else np.float64)
    for a, b in zip(data.valid, back.valid, strict=True):
        np.testing.assert_array_equal(a, b)
    meta = dict(back.meta)
    assert meta.pop("provenance") == {"command": "prammol simulate"}
    np.testing.assert_array_equal(meta.pop("lattice"), data.meta["lattice"])
    assert meta == {k: v for k, v in data.meta.items() if k != "lattice"}
    # Provenance survives reading and writing.
    write_diffraction(tmp_path / "e.h5", back)
    assert read_diffraction(tmp_path / "e.h5").meta["provenance"] == back.meta["provenance"]


def test_viewers_find_q_along_the_axes_of_orthogonal_grids(tmp_path, data):
    write_diffraction(tmp_path / "d.h5", data)
    with h5py.File(tmp_path / "d.h5") as f:
        for k, patch in enumerate(data.patches[:3], start=1):
            shown = f[f"entry_{k}/data_1"]
            q = patch.q().reshape(*patch.shape, 3)
            for axis, name in enumerate(shown.attrs["axes"]):
                direction = patch.step[axis] / np.linalg.norm(patch.step[axis])
                along = np.moveaxis(q @ direction, axis, 0).reshape(patch.shape[axis], -1)
                values = np.broadcast_to(shown[name][:].reshape(-1, 1), along.shape)
                np.testing.assert_allclose(along, values, atol=1e-12)
                assert shown[name].attrs["units"] == "1/angstrom"
        assert "axes" not in f["entry_4/data_1"].attrs  # skew


def test_the_layout_is_that_of_cxi(tmp_path, data):
    write_diffraction(tmp_path / "d.h5", data)
    with h5py.File(tmp_path / "d.h5") as f:
        assert f["cxi_version"][()] >= 140
        assert f.attrs["default"] == "entry_1"
        for k in range(1, 5):
            entry = f[f"entry_{k}"]
            assert entry.attrs["NX_class"] == "NXentry"
            shown = entry[entry.attrs["default"]]
            assert shown.attrs["NX_class"] == "NXdata"
            link = entry["data_1"].get("data", getlink=True)
            assert isinstance(link, h5py.SoftLink)
            assert link.path == f"/entry_{k}/image_1/data"
            np.testing.assert_array_equal(shown[shown.attrs["signal"]][...], data.counts[k - 1])
            np.testing.assert_array_equal(entry["image_1/mask"][...] == 0, data.valid[k - 1])
            assert entry["image_1/reciprocal_grid/step"].attrs["units"] == "1/angstrom"


def test_mask_bits_that_say_nothing_against_a_pixel_are_ignored(tmp_path, data):
    path = tmp_path / "d.h5"
    write_diffraction(path, data)
    bits = [0x1, 0x2, 0x4, 0x8, 0x10, 0x20, 0x1000]
    with h5py.File(path, "a") as f:
        mask = np.zeros(data.patches[0].shape, dtype=np.uint32)
        mask[0, 0, :6], mask[0, 1, 0] = bits[:6], bits[6]
        f["entry_1/image_1/mask"][...] = mask
    valid = read_diffraction(path).valid[0]
    np.testing.assert_array_equal(valid[0, 0], [False] * 5 + [True])
    assert valid[0, 1, 0]
    assert valid.sum() == valid.size - 5


def test_a_foreign_file_with_coordinates_of_every_point_is_read(tmp_path, data):
    path = tmp_path / "d.h5"
    write_diffraction(path, data)
    q = data.patches[3].q().reshape(4, 5, 6, 3)
    with h5py.File(path, "a") as f:
        image = f["entry_4/image_1"]
        del image["reciprocal_grid"], image["mask"]
        image["reciprocal_coordinates"] = q
    back = read_diffraction(path)
    np.testing.assert_allclose(back.patches[3].q(), data.patches[3].q(), atol=1e-12)
    assert back.valid[3].all()
    with h5py.File(path, "a") as f:
        q[2, 2, 2] += 0.2
        f["entry_4/image_1/reciprocal_coordinates"][...] = q
    with pytest.raises(DataError, match="isn't a grid"):
        read_diffraction(path)


def edit(path, name, values):
    with h5py.File(path, "a") as f:
        del f[name]
        if values is not None:
            f[name] = values


IMAGE = "entry_2/image_1"


@pytest.mark.parametrize(
    ("name", "values", "expected"),
    [
        (f"{IMAGE}/data", None, r"entry_2/image_1/data is missing"),
        (f"{IMAGE}/data", np.ones((6, 6)), r"shape \(6, 6\), expected \(n, n, n\)"),
        (f"{IMAGE}/data", np.ones((6, 6, 6), complex), "real numbers"),
        (f"{IMAGE}/data", np.full((6, 6, 6), -1.0), "patch 2 contain negative"),
        (f"{IMAGE}/data", np.full((6, 6, 6), np.nan), "patch 2 contain NaN"),
        (f"{IMAGE}/mask", np.zeros((6, 6, 5), int), r"mask has shape \(6, 6, 5\)"),
        (f"{IMAGE}/mask", np.zeros((6, 6, 6)), "expected integers"),
        (f"{IMAGE}/reciprocal_grid", None, "neither reciprocal_grid"),
        (f"{IMAGE}/reciprocal_grid/step", None, "step is missing"),
        (f"{IMAGE}/reciprocal_grid/step", np.ones((3, 3)), "one plane"),
        (f"{IMAGE}/reciprocal_grid/origin", np.full(3, np.nan), "finite"),
        (f"{IMAGE}/reciprocal_grid/origin", "here", "expected real numbers"),
    ],
)
def test_bad_diffraction_is_one_sentence(tmp_path, data, name, values, expected):
    path = tmp_path / "d.h5"
    whole = [np.ones(p.shape, dtype=bool) for p in data.patches]
    write_diffraction(path, dataclasses.replace(data, valid=whole))
    edit(path, name, values)
    with pytest.raises(InputError, match=expected) as caught:
        read_diffraction(path)
    assert "d.h5" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_size_beyond_all_measure_is_refused_before_it_is_read(tmp_path, data):
    path = tmp_path / "d.h5"
    write_diffraction(path, data)
    with h5py.File(path, "a") as f:
        del f["entry_1/image_1/data"]
        f["entry_1/image_1"].create_dataset("data", (9000, 9000, 9000), "f8", chunks=(8, 8, 8))
    with pytest.raises(InputError, match="729000000000 values, expected at most"):
        read_diffraction(path)


READERS = [read_diffraction, read_support, read_reconstruction]


@pytest.mark.parametrize("read", READERS)
def test_missing_foreign_and_truncated_files_are_named(tmp_path, read, data, result):
    support = Support(np.zeros(3), np.eye(3), RNG.random((20, 20, 20)) < 0.5)
    path = tmp_path / "x.h5"
    with pytest.raises(InputError, match=r"x\.h5: no such file"):
        read(path)
    path.write_text("not hdf5 at all")
    with pytest.raises(InputError, match=r"x\.h5: not an HDF5 file"):
        read(path)
    write = {
        read_diffraction: lambda: write_diffraction(path, data, force=True),
        read_support: lambda: write_support(path, support, force=True),
        read_reconstruction: lambda: write_reconstruction(path, result, force=True),
    }
    write[read]()
    read(path)
    whole = path.read_bytes()
    for part in (0.99, 0.5, 0.05):
        path.write_bytes(whole[: int(part * len(whole))])
        with pytest.raises(InputError, match=r"x\.h5"):
            read(path)
    with h5py.File(path, "w") as f:
        f["something"] = 1
    with pytest.raises(InputError, match=r"x\.h5: has no /entry_1"):
        read(path)


def test_a_file_without_a_photon_is_refused(tmp_path, data):
    write_diffraction(tmp_path / "d.h5", data)
    with h5py.File(tmp_path / "d.h5", "a") as f:
        for k in range(1, 5):
            f[f"entry_{k}/image_1/data"][...] = 0
    with pytest.raises(DataError, match="not one photon"):
        read_diffraction(tmp_path / "d.h5")


def test_a_support_is_read_as_written(tmp_path):
    voxel = np.array([[3.3, 0.1, 0], [0, 3.3, 0], [0.2, 0, 3.0]])
    support = Support([1.0, -2, 3], voxel, RNG.random((5, 6, 7)) < 0.5)
    write_support(tmp_path / "u.h5", support)
    back = read_support(tmp_path / "u.h5")
    np.testing.assert_array_equal(back.origin, support.origin)
    np.testing.assert_array_equal(back.voxel, support.voxel)
    np.testing.assert_array_equal(back.inside, support.inside)
    with h5py.File(tmp_path / "u.h5") as f:
        np.testing.assert_array_equal(f["entry_1/data_1/data"][...] > 0, support.inside)


@pytest.mark.parametrize(
    ("name", "values", "expected"),
    [
        ("support", np.zeros((2, 2, 2)), "empty"),
        ("support", np.ones((2, 2)), "shape"),
        ("real_grid/voxel", np.zeros((3, 3)), "independent"),
        ("real_grid/origin", None, "origin is missing"),
    ],
)
def test_a_bad_support_is_one_sentence(tmp_path, name, values, expected):
    path = tmp_path / "u.h5"
    write_support(path, Support(np.zeros(3), np.eye(3), np.ones((2, 2, 2))))
    edit(path, f"entry_1/image_1/{name}", values)
    with pytest.raises(InputError, match=rf"u\.h5.*{expected}"):
        read_support(path)


def test_the_case_of_the_element_is_no_matter(tmp_path, data):
    write_diffraction(tmp_path / "d.h5", dataclasses.replace(data, meta={"element": "al"}))
    assert read_diffraction(tmp_path / "d.h5").meta["element"] == "Al"


def test_a_mask_of_the_detector_is_that_of_every_frame(tmp_path, data):
    path = tmp_path / "d.h5"
    flat = np.zeros(data.patches[0].shape[1:], np.uint32)
    flat[2, 3] = 0x10
    write_diffraction(path, data)
    with h5py.File(path, "r+") as file:
        del file["entry_1/image_1/mask"]
        file["entry_1/image_1/mask"] = flat
    found = read_diffraction(path).valid[0]
    assert not found[:, 2, 3].any()
    assert found.sum() == found.size - found.shape[0]
    with h5py.File(path, "r+") as file:
        del file["entry_1/image_1/mask"]
        file["entry_1/image_1/mask"] = flat[:-1]
    with pytest.raises(InputError, match=r"mask has shape \(5, 6\), expected \(6, 6\)"):
        read_diffraction(path)


@pytest.mark.parametrize("value", [2**32 - 1, 2**32 - 2])
@pytest.mark.parametrize("kind", [np.uint32, np.int64, float])
def test_values_of_a_detector_that_saw_nothing_are_named(tmp_path, data, value, kind):
    path = tmp_path / "d.h5"
    write_diffraction(path, data)
    with h5py.File(path, "r+") as file:
        counts = file["entry_2/image_1/data"][...].astype(kind)
        counts[:2, 3] = value
        del file["entry_2/image_1/data"], file["entry_2/image_1/mask"]
        file["entry_2/image_1/data"] = counts
        file["entry_2/image_1/mask"] = np.zeros(counts.shape, int)
    with pytest.raises(InputError, match=f"patch 2: 12 points are {value}, the detector's value"):
        read_diffraction(path)
    with h5py.File(path, "r+") as file:
        file["entry_2/image_1/mask"][:2, 3] = 1
    assert read_diffraction(path).valid[1].sum() == counts.size - 12


def test_packed_counts_are_read_or_the_filter_is_named(tmp_path, data):
    """In a process that has the package that undoes it, and in one that has not."""
    options = {
        "blosc": hdf5plugin.Blosc(),
        "lz4": hdf5plugin.LZ4(),
        "bitshuffle": hdf5plugin.Bitshuffle(cname="lz4"),
        "zstd": hdf5plugin.Zstd(),
    }
    for name, packing in options.items():
        write_diffraction(tmp_path / f"{name}.h5", data)
        with h5py.File(tmp_path / f"{name}.h5", "r+") as file:
            counts = file["entry_1/image_1/data"][...]
            del file["entry_1/image_1/data"]
            file.create_dataset("entry_1/image_1/data", data=counts, **packing)
    script = """
import sys
from prammol.core.errors import InputError
from prammol.io import read_diffraction
if sys.argv[1] == "without":
    sys.modules["hdf5plugin"] = None
for name in sys.argv[2:]:
    try:
        print(read_diffraction(f"{name}.h5").counts[0].sum())
    except InputError as error:
        print(error)
"""
    command = [sys.executable, "-c", script]
    sums, said = (
        run([*command, which, *options], cwd=tmp_path).stdout.splitlines()
        for which in ("with", "without")
    )
    assert list(map(float, sums)) == [data.counts[0].sum()] * len(options)
    for name, text in zip(options, said, strict=True):
        assert text.startswith(f"{name}.h5: /entry_1/image_1/data is packed by filter")
        assert f"({name!r})" in text
        assert text.endswith("pip install hdf5plugin")
