"""LAMMPS where it can't go on: one sentence that says what to do."""

from __future__ import annotations

import numpy as np
import pytest
from small_crystal import fcc_ball

from prammol.core.errors import InputError, SimulationError
from prammol.diffraction.bragg_patch import paper_patches
from prammol.potentials.lammps import Cluster
from prammol.potentials.potential import Potential, aluminium
from prammol.simulation.counts import simulate as simulate_counts
from prammol.structure.atoms import Atoms


@pytest.fixture
def cluster():
    made = Cluster(aluminium())
    yield made
    made.close()


def test_overlapping_atoms_are_named(cluster):
    x = fcc_ball(5.0)
    x[7] = x[3]
    with pytest.raises(SimulationError, match="aren't finite; atoms 4 and 8 are 0 Å apart"):
        cluster.energy_forces(x)
    with pytest.raises(InputError, match="atoms 4 and 8 are 0 Å apart, remove one"):
        simulate_counts(Atoms(x, "Al"), 1e20, 1, paper_patches(4))


def test_lost_atoms_are_one_sentence_with_what_to_do(cluster):
    with pytest.raises(SimulationError) as error:
        cluster.sample_nvt(fcc_ball(6.0), 1e7, 1, lambda x: None, equilibrate=100, steps=100)
    assert "Lost atoms" in str(error.value)
    assert "temperature too high" in str(error.value)
    assert "\n" not in str(error.value)
    assert "src/" not in str(error.value)
    # and the cluster is as good as new
    assert np.isfinite(cluster.energy_forces(fcc_ball(6.0))[0])


def test_a_minimiser_that_is_stuck_where_forces_are_left_is_not_at_rest(tmp_path):
    # Half the table of the pair function is moved by 0.3 eV: a step, at which the line
    # search gets stuck.
    lines = aluminium().file.read_text().splitlines()
    words = " ".join(lines[5:]).split()
    step = 24004 - 10000 - 4 + 4 + 4400  # within the pair function
    head = words[: 4 + 20000]
    pair = np.array(words[4 + 20000 :], dtype=float)
    pair[: step - 14000] += 3.0
    file = tmp_path / "step.eam.alloy"
    body = [" ".join(head[:4]), *head[4:], *map(repr, pair.tolist())]
    file.write_text("\n".join([*lines[:5], *body]) + "\n")
    made = Cluster(Potential("Al", "eam/alloy", "* * {file} Al", 26.982, "fcc", 4.05, file))
    x, _, converged = made.relax(fcc_ball(6.0))
    _, forces = made.energy_forces(x)
    made.close()
    assert np.linalg.norm(forces) > 1e-3
    assert not converged
