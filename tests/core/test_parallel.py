"""Communicators: a single process, and the sharing of items."""

from __future__ import annotations

import numpy as np
import pytest

from prammol.core.errors import InputError
from prammol.core.parallel import Communicator, MPICommunicator, share, world


@pytest.mark.parametrize("total", [0, 1, 5, 12, 50])
@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_shares_are_contiguous_disjoint_and_nearly_equal(total, size):
    ranges = [range(*share(total, rank, size)) for rank in range(size)]
    assert [i for r in ranges for i in r] == list(range(total))
    lengths = [len(r) for r in ranges]
    assert max(lengths) - min(lengths) <= 1


@pytest.mark.parametrize("comm", [Communicator(), world()], ids=["serial", "world"])
def test_one_process_is_all_ranks(comm):
    assert (comm.rank, comm.size, comm.is_root) == (0, 1, True)
    values = np.array([1.5, -2.0])
    np.testing.assert_array_equal(comm.allreduce(values), values)
    assert comm.sum(2.5) == 2.5
    assert comm.max(-2.5) == -2.5
    assert comm.bcast({"a": 1}) == {"a": 1}
    assert comm.gather("x") == ["x"]
    comm.barrier()


def test_both_kinds_have_the_same_methods():
    def public(kind):
        return {name for name in dir(kind) if not name.startswith("_")}

    assert public(MPICommunicator) == public(Communicator)
    own = {name for name in vars(MPICommunicator) if not name.startswith("_")}
    # What MPICommunicator doesn't define itself would silently be the serial version.
    assert public(Communicator) - own <= {"rank", "size", "is_root"}


@pytest.mark.mpi
def test_a_launcher_of_another_mpi_is_noticed(parallel, monkeypatch):
    program = "from prammol.core.parallel import world; print(f' {world().size} ')"
    monkeypatch.setenv("PRAMMOL_RANKS", "2")
    assert parallel(2, "-c", program).stdout.split() == ["2", "2"]
    with pytest.raises(InputError, match="expects 2 ranks, MPI has 1"):
        world()
