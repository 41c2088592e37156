"""The comparison of two checkouts: the last bit counts, times don't."""

from __future__ import annotations

import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
RESULTS = "entry_1/process_1/results"
NAMES = {
    "truth.xyz": "s.xyz",
    "diffraction.h5": "d.h5",
    "support.h5": "u.h5",
    "reconstruction.h5": "r.h5",
}


@pytest.fixture
def differences(monkeypatch, small, tmp_path):
    """``differences(change)``: what is found when the second of two equal results was changed."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    from same_bits import CASES, compare

    for side in ("old", "new"):
        (tmp_path / side).mkdir()
        (tmp_path / side / "metrics.json").write_text('{"n_atoms": 150, "wall_s": 1.0}')
        for name, source in NAMES.items():
            shutil.copy(small / source, tmp_path / side / name)

    def changed(change, name="reconstruction.h5"):
        with h5py.File(tmp_path / "new" / name, "r+") as file:
            change(file)
        return compare(CASES["paper"], tmp_path / "old", tmp_path / "new")

    return changed


def test_equal_results_are_the_same(differences):
    assert differences(lambda file: None) == ([], [])


@pytest.mark.parametrize(
    ("name", "dataset"),
    [
        ("reconstruction.h5", "entry_1/result_1/positions"),
        ("reconstruction.h5", f"{RESULTS}/history/log_likelihood"),
        ("reconstruction.h5", f"{RESULTS}/scale"),
        ("diffraction.h5", "entry_2/image_1/reciprocal_grid/origin"),
    ],
)
def test_the_last_bit_of_one_number_is_found(differences, name, dataset):
    def change(file):
        values = np.array(file[dataset])
        values.flat[-1] = np.nextafter(values.flat[-1], np.inf)
        file[dataset][...] = values

    differ, alone = differences(change, name)
    assert len(differ) == 1
    assert differ[0].startswith(f"{name}: {dataset} differs in 1 of")
    assert alone == []


def test_one_photon_is_found(differences):
    def change(file):
        file["entry_1/image_1/data"][0, 0, 0] += 1

    assert len(differences(change, "diffraction.h5")[0]) == 1


def test_times_and_memory_may_differ(differences):
    def change(file):
        for name in ("wall_s", "core_s", "history/seconds", "history/memory_mib"):
            file[f"{RESULTS}/{name}"][...] = 7.0

    assert differences(change) == ([], [])


def test_what_must_be_there_can_not_be_left_out(differences):
    def change(file):
        del file[f"{RESULTS}/history/energy"]
        del file[f"{RESULTS}/history/added"]

    differ, alone = differences(change)
    assert differ == [f"reconstruction.h5: {RESULTS}/history/energy can't be compared"]
    assert [line.split()[1].rsplit("/")[-1] for line in alone] == ["added", "energy"]
