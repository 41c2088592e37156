"""Supports from files that other programs write: they land where the crystal is."""

from __future__ import annotations

import itertools

import h5py
import numpy as np
import pytest
import tifffile
from PIL import Image
from scipy.ndimage import gaussian_filter
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation
from small_crystal import fcc_ball

from prammol.cli.main import run
from prammol.core.errors import InputError
from prammol.diffraction.bragg_patch import BraggPatch
from prammol.diffraction.dataset import Diffraction
from prammol.diffraction.structure_factor import StructureFactor, direct_structure_factor
from prammol.diffraction.support import Support
from prammol.io import read_support, write_diffraction
from prammol.io.phased_objects import read_object
from prammol.io.support_from_object import edges, grown, support_from_file, unwrapped
from prammol.phasing.support_agreement import agreement, axis_orders, best_axis_order

TURN = Rotation.from_rotvec([0.7, -1.1, 0.4]).as_matrix()  # x_data = TURN x_lab

SIZE = np.array([3.0, 2.5, 2.0])  # voxel along the axes of the array [Å]


def handed() -> np.ndarray:
    """A crystal without any symmetry, 400 atoms: an edge of each length, one corner cut off."""
    x = fcc_ball(26.0)
    x = x[(np.abs(x) < [7.0, 11.0, 15.0]).all(axis=1)]
    x = x[x @ [1.0, 1.0, 1.0] < 14.0]
    x = x[x @ [1.0, -0.6, 0.1] < 9.0]
    return x - x.mean(axis=0)


@pytest.fixture(scope="module")
def crystal():
    return handed()


@pytest.fixture(scope="module")
def patches():
    """Sheared grids of different size around three peaks, in the frame of the data."""
    shear = np.eye(3) + 0.25 * np.array([[0, 1, 0], [0, 0, 0], [1, -1, 0]])
    out = []
    for hkl, shape in (
        ((-1, 1, 1), (26, 30, 32)),
        ((1, -1, 1), (28,) * 3),
        ((1, 1, -1), (28,) * 3),
    ):
        step = 0.045 * shear @ TURN.T
        peak = 2 * np.pi / 4.05 * np.array(hkl) @ TURN.T
        out.append(BraggPatch(peak - (np.array(shape) // 2) @ step, step, shape))
    return out


@pytest.fixture(scope="module")
def data(crystal, patches):
    return counted(crystal @ TURN.T, patches)


def counted(x, patches):
    """Poisson counts."""
    rng = np.random.default_rng(1)
    fields = [2.0 * StructureFactor([p]).forward(x).reshape(p.shape) for p in patches]
    return Diffraction(patches, [rng.poisson(np.abs(f) ** 2).astype(float) for f in fields])


def laboratory_array(x, axes="zyx"):
    """Density of atoms on an orthogonal grid of the given axes, on an array of 22 x 26 x 20."""
    shape = np.array([22, 26, 20])
    own = x[:, ["xyz".index(a) for a in axes]]
    index = np.indices(tuple(shape)).reshape(3, -1).T - shape // 2
    out = np.zeros(len(index))
    for distance, near in zip(*_near(own, index * SIZE), strict=True):
        np.add.at(out, near, np.exp(-0.5 * (distance / 1.8) ** 2))
    return out.reshape(tuple(shape))


def _near(x, grid):
    tree = cKDTree(grid)
    near = [np.array(i) for i in tree.query_ball_point(x, 8.0)]
    return [np.linalg.norm(grid[i] - p, axis=1) for p, i in zip(x, near, strict=True)], near


def inside(support, x, sign=1):
    """Best share of atoms inside, over translations."""
    steps = np.arange(-3.0, 3.01, 1.0)
    y = sign * (x - x.mean(axis=0)) + support.centres().mean(axis=0)
    return max(support.contains(y + t).mean() for t in itertools.product(steps, repeat=3))


def require_fit(support, x, sign=1):
    """The atoms are inside, little else is, and the mirrored crystal doesn't fit."""
    assert inside(support, x, sign) > 0.98
    assert 0.8 < support.volume / (len(x) * 4.05**3 / 4) < 1.7
    assert inside(support, x @ np.diag([1.0, 1.0, -1.0]), sign) < 0.96


def amplitude_and_phase(crystal, rng):
    amplitude = laboratory_array(crystal)
    phase = gaussian_filter(rng.normal(size=amplitude.shape), 2.0)
    return amplitude, 5.0 * phase


def test_npz_and_h5_of_bcdi(tmp_path, crystal, rng):
    amplitude, phase = amplitude_and_phase(crystal, rng)
    arrays = {"amp": amplitude, "phase": phase, "strain": np.full_like(phase, np.nan)}
    np.savez_compressed(tmp_path / "strain.npz", **arrays, voxel_sizes=SIZE / 10, params="a: 1")
    with h5py.File(tmp_path / "strain.h5", "w") as file:
        for name, value in {**arrays, "voxel_sizes": SIZE / 10}.items():
            file[f"output/{name}"] = value
    for name in ("strain.npz", "strain.h5"):
        support = support_from_file(tmp_path / name, orientation=TURN, threshold=0.25)
        require_fit(support, crystal @ TURN.T)
        np.testing.assert_allclose(np.linalg.norm(support.voxel, axis=1), SIZE)


def test_cxi_of_cdiutils(tmp_path, crystal, rng):
    """One image per quantity, linked by name; voxels in nm; NaN outside of the support."""
    amplitude, _ = amplitude_and_phase(crystal, rng)
    own = amplitude > 0.3 * amplitude.max()
    shown = np.where(own, amplitude, np.nan)
    images = {"phase": 0 * amplitude, "amplitude": shown, "support": own * 1.0}
    with h5py.File(tmp_path / "S1_postprocessed_data.cxi", "w") as file:
        for k, (name, value) in enumerate(images.items(), start=1):
            file[f"entry_1/image_{k}/data"] = value
            file[f"entry_1/image_{k}/image_size"] = value.shape
            file[f"entry_1/image_{k}/data_space"] = "Direct space"
            file[f"entry_1/{name}"] = h5py.SoftLink(f"/entry_1/image_{k}")
        file["entry_1/result_1/voxel_size"] = SIZE / 10
        file["entry_1/result_1/units"] = "nm"
        file["entry_1/result_2/used_isosurface"] = 0.4
    support = support_from_file(tmp_path / "S1_postprocessed_data.cxi", orientation=TURN)
    require_fit(support, crystal @ TURN.T)


def detector_object(crystal, patch, sign):
    """The complex object on the patch's grid, as phase retrieval would find it."""
    q = patch.q()
    window = np.exp(-0.5 * (np.linalg.norm(q - patch.middle, axis=1) / 0.5) ** 2)
    wave = (window * direct_structure_factor(q, crystal)).reshape(patch.shape)
    transform = np.fft.ifftn if sign > 0 else np.fft.fftn
    return np.fft.fftshift(transform(np.fft.ifftshift(wave)))


def write_pynx(path, obj, support, crop=None):
    with h5py.File(path, "w") as file:
        file["cxi_version"] = 150
        image = file.create_group("entry_1/image_1")
        box = crop or (slice(None),) * 3
        image["data"] = obj[box]
        image["mask"] = support[box].astype(np.int8)
        image["support"] = h5py.SoftLink("/entry_1/image_1/mask")
        image["data_type"], image["data_space"] = "electron density", "real"
        image["image_size"] = 1e-9 * np.array(obj.shape)
        image["process_1/configuration/iobs_shape"] = obj.shape
        image["process_1/results/llk_poisson"] = 1.2
        file["entry_last"] = h5py.SoftLink("/entry_1")


@pytest.mark.parametrize("crop", [None, (slice(5, 34), slice(4, 37), slice(3, 40))])
def test_cxi_of_pynx_on_the_detectors_sheared_grid(tmp_path, crystal, patches, crop):
    x = crystal @ TURN.T
    obj = detector_object(x, patches[0], 1)
    size = np.abs(obj)
    write_pynx(tmp_path / "o.cxi", obj, size > 0.15 * size.max(), crop)
    found = read_object(tmp_path / "o.cxi")
    assert (found.phased_shape, found.source) == (patches[0].shape, "PyNX")
    data = counted(x, patches)
    require_fit(support_from_file(tmp_path / "o.cxi", data, patch=1), x)
    # the amplitude instead of the program's own support, which is loose
    own = support_from_file(tmp_path / "o.cxi", data, patch=1, threshold=0.25)
    require_fit(own, x)
    # without the patch nothing says how long a voxel is
    with pytest.raises(InputError, match="doesn't tell its voxels"):
        support_from_file(tmp_path / "o.cxi", data)
    # nine numbers say the same as the patch
    voxel = patches[0].voxel().ravel()
    np.testing.assert_allclose(
        support_from_file(tmp_path / "o.cxi", voxel_size=voxel).voxel, patches[0].voxel()
    )


def test_folder_npy_and_tif_of_cohere(tmp_path, crystal, patches, data):
    """Its transforms have the other sign: the object is inverted, which no count tells."""
    x = crystal @ TURN.T
    obj = detector_object(x, patches[0], -1)
    own = np.abs(obj) > 0.15 * np.abs(obj).max()
    np.save(tmp_path / "image.npy", obj)
    np.save(tmp_path / "support.npy", own.astype(int))
    pages = [Image.fromarray(p) for p in np.abs(obj).transpose().astype(np.float32)]
    pages[0].save(tmp_path / "image.tif", save_all=True, append_images=pages[1:])
    folder = support_from_file(tmp_path, data, patch=1)
    image = support_from_file(tmp_path / "image.tif", data, patch=1, threshold=0.2)
    for support in (folder, image):
        require_fit(support, x, sign=-1)
        assert inside(support, x) < 0.96


def test_complex_numbers_in_two_parts_are_read(tmp_path):
    rng = np.random.default_rng(3)
    expected = rng.normal(size=(3, 4, 5)) + 1j * rng.normal(size=(3, 4, 5))
    for names in (("real", "imag"), ("re", "im")):
        parts = np.empty(expected.shape, [(name, np.float32) for name in names])
        parts[names[0]], parts[names[1]] = expected.real, expected.imag
        np.save(tmp_path / "o.npy", parts)
        np.savez(tmp_path / "o.npz", amp=parts)
        write_pynx(tmp_path / "o.cxi", parts, np.ones(expected.shape))
        for name in ("o.npy", "o.npz", "o.cxi"):
            found = read_object(tmp_path / name).amplitude
            np.testing.assert_allclose(found, np.abs(expected), rtol=1e-6)
    other = np.empty((3, 4, 5), [("real", np.float32), ("imag", "S3")])
    np.savez(tmp_path / "o.npz", amp=other)
    with pytest.raises(InputError, match="isn't an array of numbers"):
        read_object(tmp_path / "o.npz")


def test_a_pickled_member_beside_the_array_is_ignored(tmp_path):
    values = np.random.default_rng(3).random((3, 4, 5))
    np.savez(tmp_path / "o.npz", amp=values, parameters=np.array({"a": 1}, dtype=object))
    np.testing.assert_array_equal(read_object(tmp_path / "o.npz").amplitude, values)


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    "kind", ["?", "u1", "u2", "u4", "u8", "i2", "i4", "i8", "f2", "f4", "f8", "c8", "c16"]
)
def test_tif_of_any_numbers(tmp_path, kind, order, big):
    """As tifffile writes and reads them: plain, packed, in strips."""
    rng = np.random.default_rng(3)
    values = (100 * rng.random((5, 4, 13))).astype(kind)
    if kind.startswith("c"):
        values = values + 1j * values[::-1].astype(kind)
    if kind == "?":
        values = rng.random((5, 4, 13)) < 0.3
    packing = (
        ({}, {"rowsperstrip": 3}, {"compression": "zlib"})
        if kind != "?"
        else ({}, {"rowsperstrip": 3}, {"photometric": "minisblack"})
    )
    for options in packing:
        tifffile.imwrite(tmp_path / "o.tif", values, byteorder=order, bigtiff=big, **options)
        written = tifffile.imread(tmp_path / "o.tif")
        np.testing.assert_array_equal(written, values)
        found = read_object(tmp_path / "o.tif").amplitude
        np.testing.assert_allclose(found, np.abs(values.astype(complex)).T, rtol=1e-6)


def test_tif_where_zero_is_white_isnt_inverted(tmp_path):
    """Packed as only Pillow knows, and not."""
    values = np.random.default_rng(3).random((5, 4, 13)) < 0.3
    for packing in ("raw", "packbits", "group4", "tiff_lzw"):
        pages = [Image.fromarray(page) for page in values]
        pages[0].save(
            tmp_path / "o.tif", compression=packing, save_all=True, append_images=pages[1:],
            tiffinfo={262: 0},
        )  # fmt: skip
        with tifffile.TiffFile(tmp_path / "o.tif") as file:
            white = [page.photometric == 0 for page in file.pages]
        raw = values ^ np.array(white)[:, None, None]
        np.testing.assert_array_equal(read_object(tmp_path / "o.tif").amplitude, raw.T)


@pytest.mark.parametrize(
    ("axes", "letters"), [("z,y,x", "zyx"), ("x,z,y", "xzy"), ("-y,x,-z", "yxz")]
)
def test_axes_of_the_array(tmp_path, crystal, axes, letters):
    array = laboratory_array(crystal, letters)
    for axis, name in enumerate(axes.split(",")):
        if name.startswith("-"):
            array = np.flip(array, axis)
    np.save(tmp_path / "o.npy", array)
    support = support_from_file(
        tmp_path / "o.npy", voxel_size=SIZE, axes=tuple(axes.split(",")), threshold=0.25
    )
    require_fit(support, crystal)


def test_wrong_axes_show_in_the_counts(tmp_path, crystal, data, capsys):
    """The command says so, and which order would be right; the right one passes in silence."""
    np.savez(tmp_path / "o.npz", amp=laboratory_array(crystal), voxel_sizes=SIZE / 10)
    write_diffraction(tmp_path / "d.h5", data)
    turn = ",".join(str(v) for v in TURN.ravel())
    command = ["support", str(tmp_path / "d.h5"), "--from-file", str(tmp_path / "o.npz")]
    command += [f"--orientation={turn}", "--threshold", "0.25", "-o"]
    assert run([*command, str(tmp_path / "u.h5")]) == 0
    out, err = capsys.readouterr()
    assert "agreement" in out
    assert not err
    require_fit(read_support(tmp_path / "u.h5"), crystal @ TURN.T)
    assert run([*command, str(tmp_path / "n.h5"), "--voxel-size=1"]) == 0
    assert "warning: the shape agrees with the counts" in capsys.readouterr().err
    assert run([*command, str(tmp_path / "w.h5"), "--axes=x,y,z"]) == 0
    assert "warning: the support fits the counts better" in capsys.readouterr().err


def test_the_best_order_of_axes_is_found(crystal, patches):
    """Each of the 24 wrong frames is undone by the order that is found, up to the inversion."""
    turned = [BraggPatch(p.origin @ TURN, p.step @ TURN, p.shape) for p in patches]
    data = counted(crystal, turned)
    boxes, index = np.unique(np.floor(crystal / 3.0).astype(int), axis=0, return_inverse=True)
    assert len(index) == len(crystal)
    low = boxes.min(axis=0)
    mask = np.zeros(np.ptp(boxes, axis=0) + 1, dtype=bool)
    mask[tuple((boxes - low).T)] = True
    right = agreement(Support(low * 3.0, 3.0 * np.eye(3), mask), data)
    for turn in list(axis_orders())[1::5]:
        wrong = Support(low * 3.0 @ turn, 3.0 * turn, mask)
        assert agreement(wrong, data) < right
        found, value = best_axis_order(wrong, data)
        assert value == pytest.approx(right, abs=1e-4)
        np.testing.assert_allclose(np.abs(turn @ found), np.eye(3))
        assert abs((turn @ found).trace()) == 3


def test_an_object_across_the_border_is_brought_together(crystal):
    array = laboratory_array(crystal)
    level = 0.25 * array.max()
    rolled = np.roll(array, (11, 13, 10), axis=(0, 1, 2))
    back = np.argwhere(unwrapped(rolled, level) > level)
    there = np.argwhere(array > level)
    np.testing.assert_array_equal(back - back.min(axis=0), there - there.min(axis=0))


def test_growing_adds_a_shell_of_a_given_thickness():
    voxel = np.array([[1.0, 0.2, 0.0], [0.0, 1.5, -0.3], [0.3, 0.0, 1.2]])
    support = grown(Support([5.0, 0, 0], voxel, np.ones((1, 1, 1))), 4.0)
    distance = np.linalg.norm(support.centres() - [5.0, 0, 0], axis=1)
    assert distance.max() <= 4.0
    assert support.volume == pytest.approx(4 / 3 * np.pi * 64, rel=0.1)
    assert support.contains(np.array([[5.0, 0, 0]])).all()


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"voxel_size": [1.0, 2.0]}, "expected 1, 3 or 9"),
        ({"voxel_size": [1.0, 0.0, 2.0]}, "positive"),
        ({"voxel_size": 5e-10}, "is it in metres"),
        ({"voxel_size": 5e-10 * np.eye(3)}, "is it in metres"),
        ({"voxel_size": np.ones(9)}, "one plane"),
        ({"voxel_size": 5.0, "axes": ("x", "x", "y")}, "x, y and z in some order"),
        ({"voxel_size": 5.0, "orientation": np.diag([1.0, 1.0, -1.0])}, "mirror"),
        ({"voxel_size": 5.0, "orientation": 2 * np.eye(3)}, "rotation matrix"),
    ],
)
def test_impossible_frames_are_refused(arguments, match):
    with pytest.raises(InputError, match=match):
        edges(**arguments)


def test_files_that_hold_no_object_are_refused(tmp_path, data):
    cases = {}
    (tmp_path / "a.npy").write_bytes(b"nonsense")
    cases["a.npy"] = "can't be read as npy"
    (tmp_path / "a.npz").write_bytes(b"nonsense")
    cases["a.npz"] = "can't be read as npz"
    (tmp_path / "a.tif").write_bytes(b"nonsense")
    cases["a.tif"] = "can't be read as a TIFF"
    (tmp_path / "a.xyz").write_text("1\n")
    cases["a.xyz"] = "ends in none of"
    np.save(tmp_path / "flat.npy", np.ones((3, 4)))
    cases["flat.npy"] = "expected 3-D"
    np.save(tmp_path / "zero.npy", np.zeros((3, 4, 5)))
    cases["zero.npy"] = "0 everywhere"
    np.savez(tmp_path / "names.npz", other=np.ones((3, 3, 3)))
    cases["names.npz"] = "no array amp"
    np.savez(tmp_path / "voxel.npz", amp=np.ones((3, 3, 3)), voxel_sizes=[1.0, -1.0, 1.0])
    cases["voxel.npz"] = "three positive"
    np.savez(tmp_path / "metres.npz", amp=np.ones((3, 3, 3)), voxel_sizes=[5e-10] * 3)
    cases["metres.npz"] = "is it in metres"
    write_diffraction(tmp_path / "d.h5", data)
    with h5py.File(tmp_path / "d.h5", "r+") as file:
        file["entry_1/image_1/data_space"] = "diffraction"
    cases["d.h5"] = "not counts"
    cases["none.cxi"] = "no such file"
    for name, match in cases.items():
        with pytest.raises(InputError, match=match):
            support_from_file(tmp_path / name, voxel_size=3.0)
    np.save(tmp_path / "good.npy", np.ones((3, 4, 5)))
    with pytest.raises(InputError, match="there are 3 patches"):
        support_from_file(tmp_path / "good.npy", data, patch=4)
    with pytest.raises(InputError, match="can't be given as well"):
        support_from_file(tmp_path / "good.npy", data, patch=1, voxel_size=3.0)
    with pytest.raises(InputError, match="between 0 and 1"):
        support_from_file(tmp_path / "good.npy", voxel_size=3.0, threshold=1.5)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        (["--starts", "2"], "--starts has no meaning with --from-file"),
        (["--voxel-size", "1,2"], "1 or 3 or 9 numbers"),
        (["--orientation", "a"], "9 numbers"),
    ],
)
def test_wrong_options_are_refused(tmp_path, capsys, options, match):
    arguments = ["support", "d.h5", "--from-file", "o.npy", *options, "-o", str(tmp_path / "u.h5")]
    assert run(arguments) == 2
    assert match in capsys.readouterr().err
