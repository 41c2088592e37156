"""Files that were made to do harm: one sentence, little memory, nothing run, nothing else read.

The inputs are the smallest that showed each fault; tests/fuzzing.py looks for more.
"""

import json
import os
import pickle
import re
import shlex
import struct
import time
import zipfile
from pathlib import Path

import fuzzing
import h5py
import numpy as np
import pytest
from PIL import Image

from prammol.cli.settings import parse_settings
from prammol.core.errors import InputError, PotentialError
from prammol.diffraction.bragg_patch import BraggPatch
from prammol.io import read_atoms, read_diffraction, read_reconstruction, read_support
from prammol.io.arrays import read_npy
from prammol.io.hdf5 import load_texts
from prammol.io.phased_objects import read_object
from prammol.io.trajectory import read_trajectory, whole_frames
from prammol.potentials.choose import choose_potential

ROOT = Path(__file__).parent.parent
HDF5 = [name for name, target in fuzzing.TARGETS.items() if target.suffix in (".h5", ".cxi")]
ARRAYS = {
    "diffraction": "entry_1/image_1/data",
    "support": "entry_1/image_1/support",
    "reconstruction": "entry_1/result_1/positions",
    "checkpoint": "entry_1/checkpoint/positions",
    "object": "entry_1/image_1/data",
}


@pytest.fixture(scope="module")
def valid(tmp_path_factory):
    """Small valid files for each reader, as bytes."""
    return fuzzing.examples(tmp_path_factory.mktemp("examples"))


@pytest.fixture
def refused(valid, tmp_path):
    """``refused(reader, change, text)``: the reader refuses its own file once it is changed."""

    def check(reader, change, text):
        target = fuzzing.TARGETS[reader]
        path = tmp_path / f"bad{target.suffix}"
        path.write_bytes(valid[reader][0])
        with h5py.File(path, "r+") as file:
            change(file)
        with pytest.raises(InputError) as error:
            target.read(path)
        assert text in str(error.value)
        assert str(path) in str(error.value)
        assert "\n" not in str(error.value)
        return path

    return check


def instead(name, make):
    """A change that replaces a dataset."""

    def change(file):
        del file[name]
        make(file, name)

    return change


# -- HDF5 ---------------------------------------------------------------------


@pytest.mark.parametrize("reader", HDF5)
@pytest.mark.parametrize("packed", [True, False])
def test_a_small_file_that_claims_terabytes(refused, reader, packed):
    def huge(file, name):
        shape = (1 << 17,) * 2 + (64,) if "positions" not in name else (1 << 30, 3)
        options = {"chunks": (64,) * 3, "compression": "gzip"} if len(shape) == 3 else {}
        file.create_dataset(name, shape, "f8", **(options if packed else {}))

    path = refused(reader, instead(ARRAYS[reader], huge), "claims")
    assert path.stat().st_size < 100_000


@pytest.mark.parametrize("reader", HDF5)
def test_a_chunk_larger_than_its_dataset_and_its_file(refused, reader):
    def chunk(file, name):
        shape = file_shapes[name]
        wide = (1 << 25, *shape[1:])
        file.create_dataset(name, shape, "f8", chunks=wide, maxshape=(None, *shape[1:]))

    file_shapes = dict.fromkeys(ARRAYS.values(), (3, 3, 3)) | {
        ARRAYS["reconstruction"]: (3, 3), ARRAYS["checkpoint"]: (3, 3),
    }  # fmt: skip
    refused(reader, instead(ARRAYS[reader], chunk), "in arrays or chunks")


@pytest.mark.parametrize("reader", HDF5)
def test_values_in_another_file_are_not_read(refused, tmp_path, reader):
    secret = tmp_path / "secret"
    secret.write_bytes(bytes(4096))
    with h5py.File(tmp_path / "other.h5", "w") as other:
        other["data"] = np.ones((3, 3, 3))

    def raw(file, name):
        shape = (3, 3) if "positions" in name else (3, 3, 3)
        where = [(os.fsencode(secret), 0, h5py.h5f.UNLIMITED)]
        file.create_dataset(name, shape, "f8", external=where)

    def link(file, name):
        file[name] = h5py.ExternalLink(str(tmp_path / "other.h5"), "/data")

    def softly(file, name):
        file["away"] = h5py.ExternalLink(str(tmp_path / "other.h5"), "/")
        file[name] = h5py.SoftLink("/away/data")

    def virtual(file, name):
        layout = h5py.VirtualLayout((3, 3, 3), "f8")
        layout[:] = h5py.VirtualSource(str(tmp_path / "other.h5"), "data", (3, 3, 3))
        file.create_virtual_dataset(name, layout)

    for make in (raw, link, softly, virtual):
        refused(reader, instead(ARRAYS[reader], make), "in another file")


def test_an_external_link_is_not_even_opened(refused, tmp_path):
    """Opening a pipe would wait for ever."""
    os.mkfifo(tmp_path / "pipe")

    def link(file, name):
        file[name] = h5py.ExternalLink(str(tmp_path / "pipe"), "/data")

    refused("support", instead(ARRAYS["support"], link), "in another file")


def test_links_in_a_circle(refused):
    def circle(file, name):
        file[name] = h5py.SoftLink("/a")
        file["a"] = h5py.SoftLink("/b")
        file["b"] = h5py.SoftLink("/a")

    refused("support", instead(ARRAYS["support"], circle), "link in a circle")


@pytest.mark.parametrize("reader", HDF5)
def test_damaged_bytes_anywhere(valid, tmp_path, reader):
    """Object headers, link names and heaps: h5py has many kinds of errors for them."""
    target = fuzzing.TARGETS[reader]
    path = tmp_path / f"bad{target.suffix}"
    whole = valid[reader][0]
    outcomes = set()
    for at in range(100, len(whole), max(1, len(whole) // 150)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :])
        outcomes.add(fuzzing.attempt(target, path))
    assert "refused" in outcomes


@pytest.mark.parametrize("name", ["result_1/element", "process_1/results/history/stages"])
def test_a_text_that_claims_a_gigabyte(valid, tmp_path, name):
    """The library would take and clear the memory before it looks for the text."""
    path = tmp_path / "r.h5"
    path.write_bytes(valid["reconstruction"][0])
    with h5py.File(path) as file:
        at = file["entry_1"][name].id.get_offset()
    data = bytearray(path.read_bytes())
    data[at : at + 4] = struct.pack("<I", 1 << 30)
    path.write_bytes(data)
    with pytest.raises(InputError, match="claims texts of 10737"):
        read_reconstruction(path)


def test_a_text_that_claims_a_little_more_than_the_file(valid, tmp_path):
    path = tmp_path / "r.h5"
    data = bytearray(valid["reconstruction"][0])
    path.write_bytes(data)
    with h5py.File(path) as file:
        at = file["entry_1/result_1/element"].id.get_offset()
    data[at : at + 4] = struct.pack("<I", len(data) + 1)
    path.write_bytes(data)
    with pytest.raises(InputError, match=f"claims texts of {len(data) + 1} bytes"):
        read_reconstruction(path)


def test_texts_in_chunks_are_read_and_packed_ones_are_refused(tmp_path):
    texts = ["a", "bc", "def"]
    with h5py.File(tmp_path / "t.h5", "w") as file:
        plain = file.create_dataset("plain", data=texts, chunks=(2,))
        packed = file.create_dataset("packed", data=texts, chunks=(2,), compression="gzip")
        file.flush()
        assert load_texts(plain).tolist() == texts
        with pytest.raises(InputError, match="packed or in a header"):
            load_texts(packed)


def test_a_file_whose_attributes_have_variable_length_is_read_without_them(valid, tmp_path):
    """As files of older versions have them; a claim of gigabytes can't be noticed there."""
    path = tmp_path / "r.h5"
    path.write_bytes(valid["reconstruction"][0])
    want = read_reconstruction(path).history
    with h5py.File(path, "r+") as file:
        history = file["entry_1/process_1/results/history"]
        history.attrs["columns"] = json.dumps(["nothing of this name"])
    assert read_reconstruction(path).history == want


@pytest.mark.parametrize(("index", "size"), [(0, 0), (1, 2**64 - 16)])
def test_a_heap_whose_objects_lead_to_themselves(valid, tmp_path, index, size):
    """The library would never return from it."""
    whole = bytearray(valid["reconstruction"][0])
    first = whole.index(b"GCOL") + 16
    whole[first : first + 16] = struct.pack("<HHIQ", index, 1, 0, size)
    path = tmp_path / "bad.h5"
    path.write_bytes(whole)
    with pytest.raises(InputError, match=r"damaged \(a heap at byte"):
        fuzzing.TARGETS["reconstruction"].read(path)


def test_names_that_are_not_utf8(refused):
    def change(file):
        entry = file["entry_1"].id
        entry.links.move(b"image_1", entry, b"\xff\xfe")
        file.id.links.create_soft(b"\xff", b"/entry_1")

    refused("diffraction", change, "only 2 of its 2 Bragg peaks")


def test_an_element_that_is_a_number(refused):
    make = instead("entry_1/process_1/parameters/element", lambda f, name: f.update({name: 13}))
    refused("diffraction", make, "expected a chemical symbol")


def test_texts_that_are_none(refused):
    def latin(file, name):
        file.create_dataset(name, data=b"\xff\xfe", dtype=h5py.string_dtype())

    refused("reconstruction", instead("entry_1/result_1/element", latin), "isn't text")


def test_json_nested_beyond_the_stack(refused):
    def deep(file, name):
        file[name] = "[" * 100_000

    refused("checkpoint", instead("entry_1/checkpoint/history", deep), "damaged")
    name = "entry_1/process_1/results/history/stages"

    def column(file, name):
        file[name] = ["[" * 100_000]
        file[name].attrs["encoding"] = "json"

    refused("reconstruction", instead(name, column), "isn't JSON")


@pytest.mark.parametrize("value", [1e200, 1e5, -1e300])
def test_a_grid_in_another_unit(value):
    with pytest.raises(InputError, match=r"expected at most 10000; are its numbers in another"):
        BraggPatch(np.full(3, value), np.eye(3), (3, 3, 3))
    with pytest.raises(InputError, match=r"expected at most 10000"):
        BraggPatch(np.zeros(3), value * np.eye(3), (3, 3, 3))


# -- arrays -------------------------------------------------------------------


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
def test_headers_of_arrays(tmp_path, header):
    path = tmp_path / "a.npy"
    text = header.encode() + b"\n"
    path.write_bytes(b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + bytes(216))
    with pytest.raises(InputError, match="can't be read as npy"):
        read_npy(path)
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as packed:
        packed.write(path, "amp.npy")
    with pytest.raises(InputError, match="can't be read as npz"):
        read_object(tmp_path / "a.npz")


def test_a_bomb_in_a_zip_file(tmp_path):
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_BZIP2) as packed:
        packed.writestr("amp.npy", bytes(100_000_000))
    with pytest.raises(InputError, match="claims 100000000 bytes"):
        read_object(path)


def test_pages_of_different_sizes(tmp_path):
    from PIL import Image

    first, second = (Image.fromarray(np.ones(shape, np.float32)) for shape in ((3, 4), (4, 3)))
    first.save(tmp_path / "a.tif", save_all=True, append_images=[second])
    with pytest.raises(InputError, match="can't be read as a TIFF"):
        read_object(tmp_path / "a.tif")


# -- texts --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("properties", "row", "text"),
    [
        ("species:S:1:pos:S:3", "Al 0 0 0", "expected species:S:1 and pos:R:3"),
        ("species:R:1:pos:R:3", "1 0 0 0", "expected species:S:1 and pos:R:3"),
        ("species:S:2:pos:R:3", "Al Al 0 0 0", "expected species:S:1 and pos:R:3"),
        ("species:S:²:pos:R:3", "Al 0 0 0", "isn't name:type:count"),
        ("species:S:1:pos:R:99999999999", "Al 0 0 0", "isn't name:type:count"),
        ("species:S:1:pos:R:3:n:I:1", f"Al 0 0 0 {'9' * 30}", "column n isn't numbers"),
        ("species:S:1:pos:R:3", "Al 0 0 1e300", "expected at most 1e+06"),
    ],
)
def test_columns_of_xyz(tmp_path, properties, row, text):
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


def test_a_trajectory_that_promises_more_than_a_lifetime(tmp_path):
    path = tmp_path / "a.xyz"
    path.write_text(f"{10**17}\nstage=iteration start=0 iteration=1 \nAl 0 0 0\n")
    assert len(whole_frames(path)) <= 1
    with pytest.raises(InputError, match="promises"):
        read_trajectory(path)


def test_numbers_too_large_for_a_setting():
    for value in ("1" + "0" * 400, "1e16", "-1e400"):
        with pytest.raises(InputError) as error:
            parse_settings("default", [f"phase_patches.blur={value}"])
        assert len(str(error.value)) < 500


# -- potentials ---------------------------------------------------------------


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


def test_a_table_with_letters_beyond_ascii_in_its_comment(tmp_path, valid):
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


def test_what_a_damaged_or_missing_file_says_names_it(tmp_path):
    for reader in (read_diffraction, read_support):
        with pytest.raises(InputError, match="nowhere"):
            reader(tmp_path / "nowhere.h5")


def test_odd_tags_of_a_tif_make_no_noise(tmp_path):
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
