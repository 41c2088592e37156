"""Properties of all readers: whatever a file holds, they return or refuse in one sentence."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import fuzzing
import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

PLACES = {
    "diffraction": [
        "entry_1/image_1/data", "entry_1/image_1/mask", "entry_1/image_1/background",
        "entry_1/image_1/reciprocal_grid/origin", "entry_1/image_1/reciprocal_grid/step",
        "entry_1/image_1/reciprocal_coordinates", "entry_1/process_1/parameters/element",
        "entry_1/process_1/provenance", "entry_1", "entry_2/image_1", "entry_1/process_1",
    ],
    "scans": [
        *(f"entry_1/instrument_1/detector_1/{name}"
          for name in ("data", "mask", "distance", "x_pixel_size", "beam_centre", "nu", "delta",
                       "saturation_value", "dead_time", "count_time")),
        *(f"entry_1/instrument_1/beam_1/{name}"
          for name in ("incident_wavelength", "monitor", "polarisation")),
        *(f"entry_1/sample_1/{name}" for name in ("eta", "chi", "phi", "element")),
        "entry_1/instrument_1/sample_circles", "entry_1/instrument_1/detector_circles",
        "entry_1/instrument_1/pixel_directions", "entry_1/process_1", "entry_2/instrument_1",
    ],
    "support": [
        "entry_1/image_1/support", "entry_1/image_1/real_grid/origin",
        "entry_1/image_1/real_grid/voxel", "entry_1/image_1",
    ],
    "reconstruction": [
        "entry_1/result_1/positions", "entry_1/result_1/element", "entry_1/result_1/info",
        "entry_1/result_1/columns/energy",
        "entry_1/process_1/results/seed", "entry_1/process_1/results/converged",
        "entry_1/process_1/results/history/iteration", "entry_1/process_1/results/history/stages",
        "entry_1/process_1/settings", "entry_1/process_1/results",
    ],
    "checkpoint": [
        f"entry_1/checkpoint/{name}"
        for name in ("positions", "occupancies", "scale", "verdict", "status", "history", "notes",
                     "format", "checksum", "stiffness", "bond_energy", "displacements",
                     "identity", "run")
    ],
    "object": [
        "entry_1/image_1/data", "entry_1/image_1/support", "entry_1/image_1/data_space",
        "entry_1/image_1/process_1/configuration/iobs_shape", "output/amp", "output/voxel_sizes",
        "entry_1/amplitude/data", "entry_1/result_1/voxel_size", "entry_last",
    ],
}  # fmt: skip

shapes = st.sampled_from([(), (0,), (1,), (3,), (3, 3), (2, 2, 2), (3, 3, 3), (3, 3, 3, 3), (0, 3)])

kinds = st.sampled_from(["f8", "f4", "i1", "u8", "?", "c16", "f2", "S3", ">i4"])

fills = st.sampled_from([0, 1, -1, 3, 0.5, np.nan, np.inf, -np.inf, 1e308, 2**62])

texts = st.one_of(
    st.sampled_from(
        ["", "Al", "{}", "[]", "[1]", '{"a": NaN}', "[" * 2000, "real", "\x00", "null"]
    ),
    st.text(max_size=20),
)


@st.composite
def datasets(draw):
    """A text, an array of one value, or things no reader expects."""
    what = draw(st.integers(0, 9))
    if what == 0:
        return draw(texts)
    if what == 1:
        return [draw(texts) for _ in range(3)]
    if what == 2:
        return draw(st.sampled_from([
            h5py.Empty("f8"), h5py.SoftLink("/entry_1"), h5py.SoftLink("/nowhere"),
            h5py.ExternalLink("other.h5", "/"), np.zeros(3, [("a", "f8"), ("b", "S2")]),
        ]))  # fmt: skip
    shape, fill, kind = draw(shapes), draw(fills), draw(kinds)
    with np.errstate(all="ignore"):
        return np.full(shape, fill, "f8").astype(kind)


def changed(path, whole, changes):
    """Write a valid file with some of its parts replaced."""
    path.write_bytes(whole)
    with h5py.File(path, "r+") as file:
        for name, value in changes:
            try:
                if name in file:
                    del file[name]
                file[name] = value
            except (ValueError, OSError, KeyError, TypeError, RuntimeError):
                continue  # a part of the path was replaced by something else


@pytest.fixture(scope="module")
def valid(tmp_path_factory):
    """Small valid files for each reader, as bytes."""
    return fuzzing.examples(tmp_path_factory.mktemp("examples"))


@pytest.mark.parametrize("reader", list(PLACES))
@settings(
    max_examples=100, derandomize=True, deadline=None, database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)  # fmt: skip
@given(changes=st.lists(st.tuples(st.integers(0, 999), datasets()), min_size=1, max_size=3))
def test_hdf5_files_of_odd_parts(valid, tmp_path, reader, changes):
    target, places = fuzzing.TARGETS[reader], PLACES[reader]
    path = tmp_path / f"odd{target.suffix}"
    changed(path, valid[reader][0], [(places[k % len(places)], value) for k, value in changes])
    with fuzzing.bounded():
        fuzzing.attempt(target, path)


@settings(
    max_examples=300, derandomize=True, deadline=None, database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)  # fmt: skip
@given(
    name=st.sampled_from(["xyz", "trajectory", "settings", "commands", "setfl", "eam"]),
    parts=st.lists(
        st.one_of(
            st.text(max_size=10),
            st.sampled_from(["\n", " ", "=", ":", '"', "1", "Al", "nan", "species:S:1:pos:R:3"]),
            st.floats().map(repr),
            st.integers().map(str),
        ),
        max_size=30,
    ),
)
def test_texts_of_odd_words(tmp_path, name, parts):
    target = fuzzing.TARGETS[name]
    path = tmp_path / f"odd{target.suffix}"
    path.write_bytes("".join(parts).encode(errors="surrogatepass"))
    with fuzzing.bounded():
        fuzzing.attempt(target, path)


@pytest.mark.parametrize("reader", list(fuzzing.TARGETS))
def test_bytes_changed_at_random(tmp_path, reader):
    few = ("settings", "cif", "poscar", "xsf", "gen", "cfg", "cell")
    inputs = 40 if reader in few else 300
    with fuzzing.bounded():
        count, _ = fuzzing.fuzz([reader], inputs, 0, tmp_path, stop=True)
    # Both happen, else the examples or the changes would be of no use.
    assert count[f"{reader} read"] > 0
    assert count[f"{reader} refused"] > 0


@pytest.mark.slow
def test_a_hundred_thousand_inputs():
    """A process of its own: a damaged file may bring down a library."""
    script = Path(fuzzing.__file__)
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "100000 inputs" in done.stdout or "inputs, 0 findings" in done.stdout


def test_the_fuzzer_sees_what_it_should(tmp_path):
    """A reader that crashes, hangs, or says nothing is found."""

    def crash(path):
        raise KeyError

    def talk(path):
        raise fuzzing.PrammolError

    for read, error in ((crash, KeyError), (talk, fuzzing.FaultError)):
        with pytest.raises(error):
            fuzzing.attempt(fuzzing.Target(read, ".h5", 1), tmp_path)
    with pytest.raises(fuzzing.FaultError):
        fuzzing._require_harmless(["pair_coeff 1 1 1; shell rm"])
    with pytest.raises(fuzzing.FaultError):
        fuzzing._require_harmless(["pair_style python 5"])
    with fuzzing.bounded(), pytest.raises(MemoryError):
        np.ones(2 * fuzzing.MEMORY // 8)
