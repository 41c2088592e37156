"""Other files made to do harm: one sentence, little memory, nothing run, nothing else read."""

from __future__ import annotations

import pickle
import re
import shlex
import struct
import time
import zipfile
from pathlib import Path

import fuzzing
import numpy as np
import pytest
from PIL import Image
from processes import ROOT

from prammol.cli.settings import parse_settings
from prammol.core.errors import InputError, PotentialError
from prammol.io import read_atoms, read_diffraction, read_support
from prammol.io.arrays import read_npy
from prammol.io.phased_objects import read_object
from prammol.io.trajectory import read_trajectory, whole_frames
from prammol.potentials.choose import choose_potential


@pytest.fixture(scope="module")
def valid(tmp_path_factory):
    """Small valid files for each reader, as bytes."""
    return fuzzing.examples(tmp_path_factory.mktemp("examples"))


class Spy:
    """Writes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_pickled_objects_are_not_unpickled(tmp_path):
    spy = Spy(tmp_path / "run")
    held = np.empty(1, dtype=object)
    held[0] = spy
    np.save(tmp_path / "a.npy", held, allow_pickle=True)
    np.savez(tmp_path / "b.npz", amp=held, allow_pickle=True)
    (tmp_path / "c.npy").write_bytes(pickle.dumps(spy))
    for name in ("a.npy", "b.npz", "c.npy"):
        with pytest.raises(InputError, match=name[0]):
            read_object(tmp_path / name)
    assert not (tmp_path / "run").exists()
    pickle.loads((tmp_path / "c.npy").read_bytes())
    assert (tmp_path / "run").exists()  # the spy works


@pytest.mark.parametrize(
    "header",
    [
        "{'descr': '<f8', 'fortran_order': False, 'shape': (1099511627776,), }",
        "{'descr': '<f8', 'fortran_order': False, 'shape': (-3, -3, 3), }",
        "{'descr': '<f8', 'fortran_order': False, 'shape': (3, 3, 3",
        "((((",
        "__import__('os').abort()",
    ],
)
def test_odd_headers_of_arrays_are_refused(tmp_path, header):
    path = tmp_path / "a.npy"
    text = header.encode() + b"\n"
    path.write_bytes(b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + bytes(216))
    with pytest.raises(InputError, match="can't be read as npy"):
        read_npy(path)
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as packed:
        packed.write(path, "amp.npy")
    with pytest.raises(InputError, match="can't be read as npz"):
        read_object(tmp_path / "a.npz")


def test_a_bomb_in_a_zip_file_is_refused(tmp_path):
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_BZIP2) as packed:
        packed.writestr("amp.npy", bytes(100_000_000))
    with pytest.raises(InputError, match="claims 100000000 bytes"):
        read_object(path)


def test_pages_of_different_sizes_are_refused(tmp_path):
    from PIL import Image

    first, second = (Image.fromarray(np.ones(shape, np.float32)) for shape in ((3, 4), (4, 3)))
    first.save(tmp_path / "a.tif", save_all=True, append_images=[second])
    with pytest.raises(InputError, match="can't be read as a TIFF"):
        read_object(tmp_path / "a.tif")


@pytest.mark.parametrize(
    ("properties", "row", "text"),
    [
        ("species:S:1:pos:R:1", "Al 0 0 0", "expected species:S:1 and pos:R:3"),
        ("species:S:1:pos:S:3", "Al 0 0 0", "expected species:S:1 and pos:R:3"),
        ("species:R:1:pos:R:3", "1 0 0 0", "expected species:S:1 and pos:R:3"),
        ("species:S:2:pos:R:3", "Al Al 0 0 0", "expected species:S:1 and pos:R:3"),
        ("species:S:²:pos:R:3", "Al 0 0 0", "isn't name:type:count"),
        ("species:S:1:pos:R:99999999999", "Al 0 0 0", "isn't name:type:count"),
        ("species:S:1:pos:R:3:n:I:1", f"Al 0 0 0 {'9' * 30}", "column n isn't numbers"),
        ("species:S:1:pos:R:3", "Al 0 0 1e300", "expected at most 1e+06"),
    ],
)
def test_odd_columns_of_xyz_are_refused(tmp_path, properties, row, text):
    path = tmp_path / "a.xyz"
    path.write_text(f"1\nProperties={properties}\n{row}\n", encoding="utf-8")
    with pytest.raises(InputError) as error:
        read_atoms(path)
    assert text in str(error.value)


def test_a_long_comment_takes_no_longer_than_it_is(tmp_path):
    """It took the square of its length: hours for a megabyte."""
    path = tmp_path / "a.xyz"
    for comment in ("a" * 1_000_000, "a=" * 300_000, 'a="' * 300_000, "stage=1 " * 100_000):
        path.write_text(f"1\n{comment}\nAl 0 0 0\n")
        begin = time.process_time()
        read_atoms(path)
        with pytest.raises(InputError):
            whole_frames(path)
        assert time.process_time() - begin < 5


def test_a_trajectory_that_promises_too_many_atoms_is_refused(tmp_path):
    path = tmp_path / "a.xyz"
    path.write_text(f"{10**17}\nstage=iteration start=0 iteration=1 \nAl 0 0 0\n")
    assert len(whole_frames(path)) <= 1
    with pytest.raises(InputError, match="promises"):
        read_trajectory(path)


def test_numbers_too_large_for_a_setting_are_refused():
    for value in ("1" + "0" * 400, "1e16", "-1e400"):
        with pytest.raises(InputError) as error:
            parse_settings("default", [f"phase_patches.blur={value}"])
        assert len(str(error.value)) < 500


@pytest.mark.parametrize(
    ("style", "coefficients"),
    [
        ("python 5.0", "* * potentials.Evil Al"),
        ("hybrid/overlay zbl 4 4.8 python 5.0", "* * Evil Al"),
        ("mliap model mliappy evil descriptor sna x", "* * Al"),
        ("mliap/kk unified evil 0", "* * Al"),
        ("kim evil", "* * Al"),
        ("lj/cut 8\nshell touch run", "1 1 1 1"),
        ("lj/cut 8", "1 1 1 1\nshell touch run"),
        ("lj/cut 8", "1 1 1 1 &"),
        ("lj/cut 8", "1 1 ${run} 1"),
        ("lj/cut 8", "1 1 $(run) 1"),
        ("lj/cut 8", "1 1 1 1;shell"),
        ("lj/cut 8", "1 1 1 `run`"),
    ],
)
def test_no_command_and_no_code_comes_in_with_a_potential(style, coefficients):
    with pytest.raises(PotentialError, match="isn't allowed"):
        choose_potential(
            element="Al", pair_style=style, pair_coeff=coefficients,
            structure="fcc", lattice_constant=4.05,
        )  # fmt: skip


def test_a_table_with_letters_beyond_ascii_in_its_comment_is_read(tmp_path, valid):
    path = tmp_path / "a.eam.alloy"
    path.write_bytes(b"\xf7" + valid["setfl"][0])
    fuzzing.TARGETS["setfl"].read(path)


def test_settings_of_the_workflow_are_quoted_for_the_shell():
    source = (ROOT / "workflow/rules/common.smk").read_text()
    function = re.search(r"def settings_of\(.*?\n\n", source, re.DOTALL)[0]
    nasty = "patience=20;touch${IFS}run"
    space = {"shlex": shlex, "config": {"studies": {"flux": {"settings": [nasty]}}}}
    exec(function, space)

    class Wildcards:
        study = "flux"

    assert shlex.split(" ".join(space["settings_of"](Wildcards))) == ["--set", nasty]


def test_a_damaged_or_missing_file_is_named(tmp_path):
    for reader in (read_diffraction, read_support):
        with pytest.raises(InputError, match="nowhere"):
            reader(tmp_path / "nowhere.h5")


def test_odd_tags_of_a_tif_give_no_warning(tmp_path):
    """Pillow warns of two resolutions; the pixels are what they were."""
    path = tmp_path / "o.tif"
    page = Image.fromarray(np.ones((3, 4), np.float32))
    page.save(path, tiffinfo={282: 72.0}, save_all=True, append_images=[page])
    data = path.read_bytes()
    at = data.index(struct.pack("<HHI", 282, 5, 1))
    path.write_bytes(data[:at] + struct.pack("<HHI", 282, 5, 2) + data[at + 8 :])
    with pytest.warns(UserWarning, match="too many entries"), Image.open(path) as file:
        file.load()
    assert read_object(path).amplitude.shape == (4, 3, 2)  # warnings are errors here
