"""VTK's files: what VTK itself and OVITO read from them, and what the fields are."""

from __future__ import annotations

import base64
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from small_crystal import fcc_ball

from prammol.cli.main import run
from prammol.core.errors import InputError
from prammol.io import write_atoms
from prammol.io.vtk import write_vti, write_vtp
from prammol.structure import LATTICES, Atoms, crystal_fields
from prammol.structure.gridded_fields import gridded

X = fcc_ball(9.0) * [1.01, 1.0, 1.0]


@pytest.fixture(scope="module")
def atoms():
    fields, _ = crystal_fields(X, LATTICES["fcc"])
    return Atoms(X, "Al", {"energy": X[:, 2] / 10, **fields})


def arrays(path):
    """Arrays of a file by their names, with their units: XML and base64 as VTK describes them."""
    found = {}
    for item in ET.parse(path).iter("DataArray"):
        raw = base64.b64decode(item.text)
        assert int(np.frombuffer(raw[:8], "<u8")[0]) == len(raw) - 8
        kind = {"Float64": "<f8", "Int64": "<i8"}[item.get("type")]
        k = int(item.get("NumberOfComponents"))
        unit = item.findtext("InformationKey")
        found[item.get("Name")] = (np.frombuffer(raw[8:], kind).reshape(-1, k), unit)
    return found


def test_density_counts_the_atoms_and_is_a_sum_of_gaussians():
    grid = gridded(X, {}, 0.8, 1.5)
    density = grid.fields["density"]
    assert density.sum() * 0.8**3 == pytest.approx(len(X), rel=1e-3)
    place = np.array([14, 12, 15])
    square = np.sum((grid.origin + 0.8 * place - X) ** 2, axis=1)
    direct = np.exp(-square / (2 * 1.5**2)).sum() / (2 * np.pi * 1.5**2) ** 1.5
    assert density[tuple(place)] == pytest.approx(direct, rel=0.02)


def test_fields_are_means_where_atoms_are_and_unknown_elsewhere():
    even = np.tile([0.3, -0.2, 0.1], (len(X), 1))
    even[5] = np.nan
    slope = 0.01 * X[:, 0]
    grid = gridded(X, {"displacement": even, "energy": slope}, 1.0, 1.5)
    known = np.isfinite(grid.fields["displacement"][..., 0])
    np.testing.assert_allclose(grid.fields["displacement"][known] - [0.3, -0.2, 0.1], 0, atol=1e-12)
    assert not known[0, 0, 0]
    assert known.sum() > len(X)
    x = grid.origin[0] + np.arange(known.shape[0])
    middle = tuple(s // 2 for s in known.shape[1:])
    deep = np.abs(x) < 3
    np.testing.assert_allclose(
        grid.fields["energy"][(slice(None), *middle)][deep], 0.01 * x[deep], atol=0.004
    )
    for wrong in ((np.empty((0, 3)), 1.0, 1.0), (X, -1.0, 1.0), (X, 1.0, 0.0), (X, 1e-3, 1.0)):
        with pytest.raises(InputError, match="expected"):
            gridded(wrong[0], {}, *wrong[1:])


def test_files_have_names_units_and_components(atoms, tmp_path):
    write_vtp(tmp_path / "a.vtp", atoms)
    held = arrays(tmp_path / "a.vtp")
    np.testing.assert_array_equal(held["positions"][0], X)
    assert {name: unit for name, (_, unit) in held.items()} == {
        "energy": "eV",
        "displacement": "angstrom",
        "strain": None,
        "coordination": None,
        "centro_symmetry": "angstrom^2",
        "structure_type": None,
        "positions": "angstrom",
        "connectivity": None,
        "offsets": None,
    }
    # VTK's tensors have yz before xz
    np.testing.assert_array_equal(held["strain"][0], atoms.columns["strain"][:, [0, 1, 2, 3, 5, 4]])
    assert held["coordination"][0].dtype.kind == "i"


def test_vtk_reads_both(atoms, tmp_path):
    pytest.importorskip("vtkmodules", reason="vtk isn't installed (pip install vtk)")
    from vtkmodules.util.numpy_support import vtk_to_numpy
    from vtkmodules.vtkCommonCore import vtkDataArray
    from vtkmodules.vtkIOXML import vtkXMLImageDataReader, vtkXMLPolyDataReader

    def read(reader, path):
        reader.SetFileName(str(path))
        reader.Update()
        return reader.GetOutput()

    write_vtp(tmp_path / "a.vtp", atoms)
    found = read(vtkXMLPolyDataReader(), tmp_path / "a.vtp")
    assert found.GetNumberOfVerts() == len(X)
    np.testing.assert_array_equal(vtk_to_numpy(found.GetPoints().GetData()), X)
    energy = found.GetPointData().GetArray("energy")
    np.testing.assert_array_equal(vtk_to_numpy(energy), atoms.columns["energy"])
    assert energy.GetInformation().Get(vtkDataArray.UNITS_LABEL()) == "eV"
    grid = gridded(X, {"strain": atoms.columns["strain"]}, 1.2, 2.0)
    write_vti(tmp_path / "f.vti", grid)
    image = read(vtkXMLImageDataReader(), tmp_path / "f.vti")
    assert image.GetDimensions() == grid.fields["density"].shape
    assert image.GetOrigin() == tuple(grid.origin)
    point = image.FindPoint(*(grid.origin + 1.2 * np.array([5, 7, 6])))
    density = image.GetPointData().GetArray("density")
    assert density.GetValue(point) == grid.fields["density"][5, 7, 6]
    assert density.GetInformation().Get(vtkDataArray.UNITS_LABEL()) == "1/angstrom^3"
    strain = image.GetPointData().GetArray("strain")
    assert [strain.GetComponentName(i) for i in range(6)] == ["xx", "yy", "zz", "xy", "yz", "xz"]
    np.testing.assert_array_equal(strain.GetTuple(point)[0], grid.fields["strain"][5, 7, 6, 0])


def test_ovito_reads_the_fields(atoms, tmp_path):
    pytest.importorskip("ovito", reason="ovito isn't installed (pip install ovito)")
    from ovito.io import import_file

    grid = gridded(X, {"displacement": atoms.columns["displacement"]}, 1.2, 2.0)
    write_vti(tmp_path / "f.vti", grid)
    (voxels,) = import_file(str(tmp_path / "f.vti")).compute().grids.values()
    assert tuple(voxels.shape) == grid.fields["density"].shape
    density = np.asarray(voxels["density"]).reshape(voxels.shape[::-1]).transpose()
    np.testing.assert_allclose(density, grid.fields["density"])
    assert list(voxels["displacement"].component_names) == ["x", "y", "z"]


def test_the_verb_writes_what_the_ending_says(atoms, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_atoms("s.xyz", atoms)
    assert run(["export", "s.xyz", "-o", "a.vtp"]) == 0
    assert run(["export", "s.xyz", "--spacing", "1.5", "-o", "f.vti"]) == 0
    assert capsys.readouterr().out == "a.vtp\nf.vti\n"
    assert {"density", "displacement", "strain", "energy"} <= {*arrays("f.vti")}
    for words, said in (
        (["export", "s.xyz", "-o", "f.vti"], "f.vti"),
        (["export", "s.xyz", "-o", "f.obj"], "expected .vtp, .vti"),
        (["export", "s.xyz", "--width", "-1", "-o", "g.vti"], "positive lengths"),
    ):
        assert run(words) == 2
        assert said in capsys.readouterr().err
