"""HDF5 files made to do harm: one sentence, little memory, nothing else read."""

from __future__ import annotations

import json
import os
import struct

import fuzzing
import h5py
import numpy as np
import pytest

from prammol.core.errors import InputError
from prammol.diffraction.bragg_patch import BraggPatch
from prammol.io import read_reconstruction
from prammol.io.hdf5 import load_texts

HDF5 = [name for name, target in fuzzing.TARGETS.items() if target.suffix in (".h5", ".cxi")]

ARRAYS = {
    "diffraction": "entry_1/image_1/data",
    "support": "entry_1/image_1/support",
    "reconstruction": "entry_1/result_1/positions",
    "checkpoint": "entry_1/checkpoint/positions",
    "object": "entry_1/image_1/data",
    "scans": "entry_1/instrument_1/detector_1/data",
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


def test_links_in_a_circle_are_refused(refused):
    def circle(file, name):
        file[name] = h5py.SoftLink("/a")
        file["a"] = h5py.SoftLink("/b")
        file["b"] = h5py.SoftLink("/a")

    refused("support", instead(ARRAYS["support"], circle), "link in a circle")


@pytest.mark.parametrize("reader", HDF5)
def test_damaged_bytes_anywhere_are_one_sentence(valid, tmp_path, reader):
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


def test_names_that_are_not_utf8_are_refused(refused):
    def change(file):
        entry = file["entry_1"].id
        entry.links.move(b"image_1", entry, b"\xff\xfe")
        file.id.links.create_soft(b"\xff", b"/entry_1")

    refused("diffraction", change, "only 2 of its 2 Bragg peaks")


def test_an_element_that_is_a_number_is_refused(refused):
    make = instead("entry_1/process_1/parameters/element", lambda f, name: f.update({name: 13}))
    refused("diffraction", make, "expected a chemical symbol")


def test_texts_of_another_type_are_refused(refused):
    def latin(file, name):
        file.create_dataset(name, data=b"\xff\xfe", dtype=h5py.string_dtype())

    refused("reconstruction", instead("entry_1/result_1/element", latin), "isn't text")


def test_json_nested_beyond_the_stack_is_refused(refused):
    def deep(file, name):
        file[name] = "[" * 100_000

    refused("checkpoint", instead("entry_1/checkpoint/history", deep), "damaged")
    name = "entry_1/process_1/results/history/stages"

    def column(file, name):
        file[name] = ["[" * 100_000]
        file[name].attrs["encoding"] = "json"

    refused("reconstruction", instead(name, column), "isn't JSON")


@pytest.mark.parametrize("value", [1e200, 1e5, -1e300])
def test_a_grid_in_another_unit_is_refused(value):
    with pytest.raises(InputError, match=r"expected at most 10000; are its numbers in another"):
        BraggPatch(np.full(3, value), np.eye(3), (3, 3, 3))
    with pytest.raises(InputError, match=r"expected at most 10000"):
        BraggPatch(np.zeros(3), value * np.eye(3), (3, 3, 3))
