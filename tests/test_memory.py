"""The memory of a process, and that of a reconstruction over many iterations."""

import numpy as np
import pytest

from prammol import make_crystal, reconstruct, simulate, support_from_truth
from prammol.memory import resident_mib
from prammol.patches import paper_patches


def test_resident_memory_follows_an_array_and_the_peak_stays():
    before, _ = resident_mib()
    array = np.ones(8 * 2**20)  # 64 MiB
    during, _ = resident_mib()
    assert during - before > 60
    del array
    after, peak = resident_mib()
    assert after < during - 60
    assert peak > during - 1


def test_a_system_that_does_not_say_gives_zero(monkeypatch, tmp_path):
    monkeypatch.setattr("prammol.memory._STATUS", tmp_path / "none")
    assert resident_mib() == (0.0, 0.0)


@pytest.mark.slow
def test_memory_is_flat_over_200_iterations():
    truth = make_crystal("bulk", atoms=60, seed=5)
    data = simulate(truth, flux=1e20, seed=1, patches=paper_patches(10))
    support = support_from_truth(truth, resolution=5.0)
    settings = {"max_iterations": 200, "patience": 1000}
    result = reconstruct(data, support, preset="paper", seed=1, settings=settings)
    memory = [record["memory_mib"] for record in result.history]
    assert len(memory) == 201
    # The allocator keeps a few MiB more or less while the number of atoms changes.
    assert np.median(memory[150:]) < np.median(memory[50:100]) + 5
