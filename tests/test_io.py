"""Files: round trips, other programs as readers, and bad input in one sentence."""

from __future__ import annotations

import dataclasses
import hashlib
import json

import ase.data
import ase.io
import h5py
import numpy as np
import pytest

from prammol.core.errors import DataError, InputError, OutputExistsError
from prammol.diffraction.bragg_patch import BraggPatch, paper_patches
from prammol.diffraction.dataset import Diffraction
from prammol.diffraction.support import Support
from prammol.io import (
    provenance,
    read_atoms,
    read_diffraction,
    read_reconstruction,
    read_support,
    replacing,
    require_absent,
    write_atoms,
    write_diffraction,
    write_lammps_data,
    write_reconstruction,
    write_support,
)
from prammol.potentials.potential import aluminium
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


# Atoms


def test_atoms_round_trip(tmp_path, atoms):
    write_atoms(tmp_path / "a.xyz", atoms)
    back = read_atoms(tmp_path / "a.xyz")
    assert back.element == "Al"
    np.testing.assert_allclose(back.positions, atoms.positions, atol=1e-10)
    assert list(back.columns) == list(atoms.columns)
    for name, values in atoms.columns.items():
        assert back.columns[name].dtype.kind == values.dtype.kind
        if values.dtype.kind == "f":
            np.testing.assert_allclose(back.columns[name], values, rtol=1e-9)
        else:
            np.testing.assert_array_equal(back.columns[name], values)
    assert dict(back.info) == dict(atoms.info)


def test_ase_reads_our_xyz(tmp_path, atoms):
    write_atoms(tmp_path / "a.xyz", atoms)
    theirs = ase.io.read(tmp_path / "a.xyz")
    np.testing.assert_allclose(theirs.positions, atoms.positions, atol=1e-10)
    assert set(theirs.get_chemical_symbols()) == {"Al"}
    assert not theirs.pbc.any()
    np.testing.assert_array_equal(theirs.arrays["truth_index"], np.arange(N))
    np.testing.assert_allclose(theirs.arrays["error"], atoms.columns["error"], rtol=1e-9)
    np.testing.assert_array_equal(theirs.arrays["surface"], atoms.columns["surface"])
    assert theirs.info["potential"] == "Al99.eam.alloy"
    assert theirs.info["note"] == atoms.info["note"]


def test_we_read_ase_xyz_and_plain_xyz(tmp_path, atoms):
    theirs = ase.Atoms("Al4", positions=atoms.positions[:4], cell=[9, 9, 9], pbc=True)
    theirs.arrays["q"] = np.arange(4.0)
    for name in ("extxyz", "xyz"):
        ase.io.write(tmp_path / f"{name}.xyz", theirs, format=name)
        back = read_atoms(tmp_path / f"{name}.xyz")
        np.testing.assert_allclose(back.positions, theirs.positions, atol=1e-7)
    np.testing.assert_allclose(read_atoms(tmp_path / "extxyz.xyz").columns["q"], np.arange(4))


def test_ase_reads_our_lammps_data(tmp_path, atoms):
    mass = ase.data.atomic_masses[13]
    write_lammps_data(tmp_path / "a.data", atoms, mass)
    theirs = ase.io.read(tmp_path / "a.data", format="lammps-data", atom_style="atomic")
    low = atoms.positions.min(axis=0) - 10
    shift = theirs.positions - atoms.positions  # ASE may put the corner at zero
    np.testing.assert_allclose(shift, np.broadcast_to(shift[0], shift.shape), atol=1e-6)
    assert np.allclose(shift[0], 0, atol=1e-6) or np.allclose(shift[0], -low, atol=1e-5)
    assert set(theirs.get_chemical_symbols()) == {"Al"}
    np.testing.assert_allclose(
        theirs.cell.lengths(), np.ptp(atoms.positions, axis=0) + 20, atol=1e-5
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "number of atoms"),
        ("nonsense\n", "number of atoms"),
        ("-4\n\n", "promises -4"),
        ("999999999999\n\n", "promises"),
        ("3\n\nAl 0 0 0\n", "ends after 1 atoms"),
        ("1\n\nAl 0 0\n", "line 3 has 3 values, expected 4"),
        ("1\n\nAl 0 0 zero\n", "column pos"),
        ("1\n\nAl 0 0 nan\n", "finite"),
        ("2\n\nAl 0 0 0\nCu 1 1 1\n", "Al, Cu"),
        ("1\nProperties=pos:R:3\n0 0 0\n", "no species"),
        ("1\nProperties=species:S\nAl\n", "Properties"),
    ],
)
def test_bad_xyz(tmp_path, text, expected):
    path = tmp_path / "bad.xyz"
    path.write_text(text)
    with pytest.raises(InputError, match=expected) as caught:
        read_atoms(path)
    assert "bad.xyz" in str(caught.value)


def test_xyz_that_is_not_text_or_not_there(tmp_path):
    (tmp_path / "b.xyz").write_bytes(b"\xff\xfe\x00\x89HDF")
    with pytest.raises(InputError, match=r"b\.xyz.*XYZ"):
        read_atoms(tmp_path / "b.xyz")
    with pytest.raises(InputError, match="no such file"):
        read_atoms(tmp_path / "c.xyz")
    with pytest.raises(InputError, match="can't be read"):
        read_atoms(tmp_path)


# Diffraction and support


def test_diffraction_round_trip(tmp_path, data):
    path = tmp_path / "d.h5"
    write_diffraction(path, data, provenance={"command": "prammol simulate"})
    back = read_diffraction(path)
    assert back.source == str(path)
    for a, b in zip(data.patches, back.patches, strict=True):
        np.testing.assert_array_equal(a.origin, b.origin)
        np.testing.assert_array_equal(a.step, b.step)
        assert a.shape == b.shape
    for a, b in zip(data.counts, back.counts, strict=True):
        np.testing.assert_array_equal(a, b)
        assert b.dtype == np.float64
    for a, b in zip(data.valid, back.valid, strict=True):
        np.testing.assert_array_equal(a, b)
    meta = dict(back.meta)
    assert meta.pop("provenance") == {"command": "prammol simulate"}
    np.testing.assert_array_equal(meta.pop("lattice"), data.meta["lattice"])
    assert meta == {k: v for k, v in data.meta.items() if k != "lattice"}
    # Provenance survives reading and writing.
    write_diffraction(tmp_path / "e.h5", back)
    assert read_diffraction(tmp_path / "e.h5").meta["provenance"] == back.meta["provenance"]


def test_cxi_layout(tmp_path, data):
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


def test_cxi_mask_bits_that_say_nothing_against_a_pixel(tmp_path, data):
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


def test_foreign_file_with_coordinates_of_every_point(tmp_path, data):
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
def test_bad_diffraction(tmp_path, data, name, values, expected):
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
def test_missing_foreign_and_truncated_files(tmp_path, read, data, result):
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


def test_no_photon_at_all(tmp_path, data):
    write_diffraction(tmp_path / "d.h5", data)
    with h5py.File(tmp_path / "d.h5", "a") as f:
        for k in range(1, 5):
            f[f"entry_{k}/image_1/data"][...] = 0
    with pytest.raises(DataError, match="not one photon"):
        read_diffraction(tmp_path / "d.h5")


def test_support_round_trip(tmp_path):
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
def test_bad_support(tmp_path, name, values, expected):
    path = tmp_path / "u.h5"
    write_support(path, Support(np.zeros(3), np.eye(3), np.ones((2, 2, 2))))
    edit(path, f"entry_1/image_1/{name}", values)
    with pytest.raises(InputError, match=rf"u\.h5.*{expected}"):
        read_support(path)


# Reconstruction


def test_reconstruction_round_trip(tmp_path, result):
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


def test_reconstruction_without_history(tmp_path, atoms):
    write_reconstruction(tmp_path / "r.h5", Reconstruction(atoms=atoms, scale=1.0))
    back = read_reconstruction(tmp_path / "r.h5")
    assert back.history == []
    assert back.iterations == 0
    np.testing.assert_array_equal(back.atoms.columns["surface"], atoms.columns["surface"])


def test_llk_is_where_pynx_puts_it(tmp_path, result):
    write_reconstruction(tmp_path / "r.h5", result)
    with h5py.File(tmp_path / "r.h5") as f:
        last = result.history[-1]["log_likelihood"]
        assert f["entry_1/image_1/process_1/results/llk_poisson"][()] == last
        data = f["entry_1"][f["entry_1"].attrs["default"]]
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
def test_bad_reconstruction(tmp_path, result, name, values, expected):
    write_reconstruction(tmp_path / "r.h5", result)
    edit(tmp_path / "r.h5", f"entry_1/{name}", values)
    with pytest.raises(InputError, match=rf"r\.h5.*{expected}"):
        read_reconstruction(tmp_path / "r.h5")


# Writing


def test_nothing_is_overwritten_without_force(tmp_path, atoms, data, result):
    support = Support(np.zeros(3), np.eye(3), np.ones((2, 2, 2)))
    path = tmp_path / "x"
    path.write_text("precious")
    for write, thing in (
        (write_atoms, atoms),
        (write_diffraction, data),
        (write_support, support),
        (write_reconstruction, result),
    ):
        with pytest.raises(OutputExistsError, match="--force"):
            write(path, thing)
    with pytest.raises(OutputExistsError):
        write_lammps_data(path, atoms, 27.0)
    assert path.read_text() == "precious"
    assert [p.name for p in tmp_path.iterdir()] == ["x"]
    write_atoms(path, atoms, force=True)
    assert len(read_atoms(path)) == N


def test_a_failed_write_leaves_the_old_file_and_no_temporary(tmp_path):
    path = tmp_path / "x"
    path.write_text("old")

    def fail():
        with replacing(path, force=True) as temporary:
            temporary.write_text("half")
            assert path.read_text() == "old"
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["x"]


def test_failure_inside_a_writer_cleans_up(tmp_path, atoms):
    bad = Atoms(atoms.positions, "Al", columns={"bad name": np.zeros(N)})
    with pytest.raises(InputError, match="bad name"):
        write_atoms(tmp_path / "a.xyz", bad)
    cube = Atoms(atoms.positions, "Al", columns={"x": np.array([object()] * N)})
    with pytest.raises(TypeError):
        write_reconstruction(tmp_path / "r.h5", Reconstruction(atoms=cube, scale=1.0))
    assert list(tmp_path.iterdir()) == []


def test_somebody_was_quicker(tmp_path):
    path = tmp_path / "x"

    def write():
        with replacing(path) as temporary:
            temporary.write_text("mine")
            path.write_text("theirs")

    with pytest.raises(OutputExistsError):
        write()
    assert path.read_text() == "theirs"


def test_require_absent(tmp_path):
    assert require_absent(tmp_path / "a" / "b" / "x.h5").parent.is_dir()
    with pytest.raises(InputError, match="directory"):
        require_absent(tmp_path, force=True)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="can't be made"):
        require_absent(tmp_path / "file" / "x.h5")


def test_provenance_names_potential_and_versions():
    potential = aluminium()
    p = provenance("prammol simulate", {"noise": 4}, potential)
    assert p["command"] == "prammol simulate"
    assert p["seeds"] == {"noise": 4}
    assert p["packages"]["numpy"] == np.__version__
    assert p["potential"]["sha1"] == hashlib.sha1(potential.file.read_bytes()).hexdigest()
    assert p["potential"]["file"] == potential.file.name
    json.dumps(p)
    with pytest.raises(InputError, match="can't be read"):
        provenance(potential=potential.file.with_name("nothing"))
