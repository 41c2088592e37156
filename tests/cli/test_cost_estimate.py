"""The memory and time that are announced before a reconstruction."""

from __future__ import annotations

import numpy as np
import pytest

from prammol.cli.cost_estimate import (
    BASE_BYTES,
    Estimate,
    cores_of_this_job,
    estimate,
    memory,
    require_memory,
)
from prammol.core.errors import DataError
from prammol.core.parallel import Communicator
from prammol.diffraction.bragg_patch import paper_patches
from prammol.diffraction.dataset import Diffraction
from prammol.diffraction.support import Support
from prammol.potentials.potential import aluminium


def data_of(points):
    patches = paper_patches(points)
    return Diffraction(patches, [np.ones(p.shape) for p in patches])


def test_memory_grows_with_the_points_and_shrinks_with_the_ranks():
    small, large = data_of(10), data_of(40)
    assert memory(small.patches, small, 100) > BASE_BYTES
    assert memory(large.patches, large, 100) > memory(small.patches, small, 100) + 3 * 63_000 * 90
    assert memory(large.patches[:1], large, 100) < memory(large.patches, large, 100)
    assert memory(small.patches, small, 5000, "default") > memory(small.patches, small, 5000) + 5e7


def test_atoms_fill_the_support():
    support = Support(np.zeros(3), 5 * np.eye(3), np.ones((4, 4, 4), bool))
    found = estimate(data_of(8), support, aluminium(), Communicator(), "paper")
    assert found.atoms == pytest.approx(20**3 * 4 / 4.05**3)
    assert found.points == 3 * 8**3
    assert 0 < found.gradient_s < found.iteration_s[0] <= found.iteration_s[1]
    assert found.starts == 1
    assert "1536 points" in found.text()


def test_the_sentence_names_the_spans():
    found = Estimate(600, 1000, 2e9, 0.1, (4.96, 12.4), (26.0, 26.2), 8)
    assert found.text() == (
        "1000 points, about 600 atoms in the support, 2.00 GB per rank, "
        "5 to 12 s for each of at most 8 starts, about 26 s for an iteration"
    )


class TwoNodes(Communicator):
    """Three ranks on one node, one on another; a rank on the first sees two cores each."""

    def gather(self, value):
        return [("a", {0, 1}), ("a", {1, 2}), ("a", {0, 1}), ("b", {0, 1})]


def test_cores_are_counted_on_the_fullest_node():
    assert cores_of_this_job(TwoNodes()) == (3, 3)


def test_what_does_not_fit_is_refused_with_the_ranks_it_needs(monkeypatch, capsys):
    data, comm = data_of(100), Communicator()
    needs = Estimate(1e4, 3_000_000, memory(data.patches, data, 1e4), 0.1, (1, 2), (1, 2), 1)
    monkeypatch.setattr("prammol.cli.cost_estimate.free_bytes", lambda: needs.bytes_per_rank + 1)
    require_memory(needs, data, comm, "paper")
    # With a third of the patches a rank would have room.
    third = memory(data.patches[:1], data, 1e4)
    monkeypatch.setattr("prammol.cli.cost_estimate.free_bytes", lambda: third)
    with pytest.raises(DataError, match="expected at least 3 ranks, one on each node"):
        require_memory(needs, data, comm, "paper")
    require_memory(needs, data, comm, "paper", forced=True)
    assert "at least 3 ranks" in capsys.readouterr().err
    monkeypatch.setattr("prammol.cli.cost_estimate.free_bytes", lambda: 1e8)
    with pytest.raises(DataError, match="no number of ranks makes it fit"):
        require_memory(needs, data, comm, "paper")
