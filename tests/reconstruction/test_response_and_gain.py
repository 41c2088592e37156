"""A detector's response beside gains that differ from pixel to pixel, and holes in them."""

from __future__ import annotations

import numpy as np
import pytest
from small_crystal import fcc_ball
from sub_points import seen

from prammol.core.parallel import Communicator
from prammol.diffraction.bragg_patch import paper_patches
from prammol.diffraction.curved_patch import CurvedPatch
from prammol.diffraction.dataset import Diffraction
from prammol.diffraction.efficiency import smooth_part
from prammol.diffraction.response import Response
from prammol.diffraction.structure_factor import direct_structure_factor
from prammol.diffraction.support import support_from_truth
from prammol.potentials.potential import aluminium
from prammol.reconstruction.loop import make_problem
from prammol.structure.atoms import Atoms


def form(q):
    """A factor like that of the form factor: the exponential of a linear function."""
    return np.exp(0.3 * q @ [1.0, -0.5, 0.2])


@pytest.mark.parametrize("flat", [False, True])
def test_what_is_smooth_is_averaged_and_what_is_not_counts_the_average(rng, flat):
    """A flat field, and masked points without a gain, as in every file of a detector with gaps."""
    x, patches = fcc_ball(8.0), paper_patches(24)
    valid = [rng.random(p.shape) > 0.05 for p in patches]
    field = [rng.uniform(0.8, 1.2, p.shape) if flat else np.ones(p.shape) for p in patches]
    smooth = [form(p.q()).reshape(p.shape) for p in patches]
    gain = [np.where(v, f * s, 1.0) for v, f, s in zip(valid, field, smooth, strict=True)]
    counts = [1e3 * np.ones(p.shape) for p in patches]
    data = Diffraction(patches, counts, valid, gain=gain, response=Response.of(3, 1.0, 0.5),
                       meta={"element": "Al", "form_factor": "constant"})  # fmt: skip
    support = support_from_truth(Atoms(x, "Al"))
    problem = make_problem(data, support, aluminium(), 1, Communicator())
    got = problem.shard.detected(problem.factor.forward(x))
    first = 0
    for patch, f in zip(patches, field, strict=True):
        here = problem.shard.valid[first : first + patch.size]
        points = rng.choice(np.flatnonzero(here), 20, False)
        expected = f.ravel()[points] * seen(patch, x, 1.0, 0.5, points, 5, form)
        least = 1e-4 * (form(patch.q()) * np.abs(direct_structure_factor(patch.q(), x)) ** 2).mean()
        rel = 0.05 if flat else 2e-3  # a random field has a smooth part, too
        assert got[first + points] == pytest.approx(expected, rel=rel, abs=least)
        first += patch.size
    problem.cluster.close()


def test_the_transposed_operator_has_the_factor_on_the_other_side(rng):
    x, patches = fcc_ball(6.0), paper_patches(18)
    gain = [rng.uniform(0.5, 2.0, p.shape) for p in patches]
    data = Diffraction(patches, [np.ones(p.shape) for p in patches], gain=gain,
                       response=Response.of(3, 1.0), meta={"element": "Al"})  # fmt: skip
    problem = make_problem(data, support_from_truth(Atoms(x, "Al")), aluminium(), 1, Communicator())
    made = problem.shard.response
    a, b = rng.normal(size=(2, problem.shard.size))
    assert np.vdot(made.apply(a), b) == pytest.approx(np.vdot(a, made.adjoint(b)), rel=1e-11)
    problem.cluster.close()


def test_a_polynomial_is_its_own_smooth_part_also_where_it_is_masked(rng):
    i, j, _ = np.indices((7, 9, 1)) / 5.0
    gain = np.exp(0.3 + i - 0.5 * j * i + 0.2 * j**3)
    valid = rng.random(gain.shape) > 0.3
    np.testing.assert_allclose(smooth_part(np.where(valid, gain, 50.0), valid), gain, rtol=1e-9)
    assert (smooth_part(gain, np.zeros(gain.shape, dtype=bool)) == 1).all()


def test_a_bent_grid_is_filled_most_where_its_steps_are_longest():
    """The response needs the intensity sampled everywhere."""
    i = np.indices((9, 8, 7)).reshape(3, -1).T
    q = i * [0.03, 0.05, 0.04]
    q[:, 0] *= 1.0 + 0.1 * i[:, 1]  # steps along the first axis grow with the second index
    patch = CurvedPatch(q.reshape(9, 8, 7, 3))
    assert patch.local_steps()[:, 0, 0].max() == pytest.approx(0.03 * (1 + 0.1 * 6))
    assert patch.local_steps()[:, 2, 2] == pytest.approx(0.04)
