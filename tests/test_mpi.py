"""Several processes: sums, the kernels on slabs, and the end of a job that fails."""

import textwrap

import pytest

pytestmark = pytest.mark.mpi

COLLECTIVES = """
    import numpy as np
    from prammol.comm import world
    comm = world()
    n, r = comm.size, comm.rank
    values = np.array([1.0, r, 0.1 * (r + 1)]), np.array([[1j * r]])
    assert np.array_equal(comm.allreduce(values[0])[:2], [n, n * (n - 1) / 2])
    assert comm.allreduce(values[1])[0, 0] == 1j * n * (n - 1) / 2
    assert np.array_equal(values[0], [1.0, r, 0.1 * (r + 1)]), "the argument was changed"
    assert comm.sum(r + 1) == n * (n + 1) / 2
    assert comm.max(-r) == 0
    assert comm.bcast({"rank": r}) == {"rank": 0}
    assert comm.gather(r * r) == [i * i for i in range(n)]
    bits = comm.gather(comm.allreduce(np.full(1000, 0.1 + r / 7)).tobytes())
    assert len(set(bits)) == 1, "ranks hold different bits"
    comm.barrier()
    if comm.is_root:
        print("ranks", n)
"""

GRADIENT = """
    import numpy as np
    from prammol.comm import world
    from prammol.diffraction import Diffraction, local_shard
    from prammol.likelihood import amplitude_scale, poisson_log_likelihood, residual_weights
    from prammol.patches import BraggPatch, cubic_patch
    from prammol.scattering import StructureFactor, direct_structure_factor
    comm = world()
    rng = np.random.default_rng(5)
    patches = [
        cubic_patch((-1, 1, 1), 0.6, 6, 4.05),
        BraggPatch([1, -1, 1], [[0.05, 0.01, 0], [0, 0.06, 0.01], [0.02, 0, 0.05]], (5, 4, 3)),
        BraggPatch([1, 1, -1], np.eye(3) * 0.1, (PLANES, 3, 3)),
    ]
    x = rng.uniform(-5, 5, (20, 3))
    omega = [direct_structure_factor(p.q(), x) for p in patches]
    counts = [rng.poisson(4 * abs(o) ** 2).astype(float) for o in omega]
    valid = [rng.random(p.shape) > 0.1 for p in patches]
    data = Diffraction(patches, [c.reshape(p.shape) for c, p in zip(counts, patches)], valid)
    y = x + 0.1 * rng.normal(size=x.shape)

    shard = local_shard(data, comm)
    factor = StructureFactor(shard.patches, 1e-13)
    part = np.where(shard.valid, factor.forward(y), 0)
    field = np.where(shard.valid, residual_weights(shard.counts, part, 2.0), 0)
    gradient = comm.allreduce(-2 * factor.adjoint_moments(field, y).imag)
    v = shard.valid
    found = poisson_log_likelihood(shard.counts[v], part[v], 2.0, comm)
    scale = amplitude_scale(shard.counts[v], part[v], comm)

    # the same in one process by direct sums
    q = np.concatenate([p.q() for p in patches])
    ok = np.concatenate([v.ravel() for v in valid])
    q, i = q[ok], np.concatenate(counts)[ok]
    f = direct_structure_factor(q, y)
    lam = 4 * abs(f) ** 2
    w = 4 * (1 - i / lam) * f
    wave = np.exp(1j * y @ q.T)
    expected = -2 * np.stack([wave @ (w * q[:, a]) for a in range(3)], axis=1).imag
    np.testing.assert_allclose(gradient, expected, rtol=1e-8, atol=1e-6)
    np.testing.assert_allclose(found, np.sum(i * np.log(lam) - lam), rtol=1e-12)
    np.testing.assert_allclose(scale, np.sqrt(i) @ abs(f) / (abs(f) @ abs(f)), rtol=1e-12)
    if comm.is_root:
        print("points", comm.sum(len(shard.counts)) if comm.size == 1 else shard.total_points)
"""

ENERGY = """
    import numpy as np
    from prammol.comm import world
    from prammol.md import Cluster
    from prammol.potentials import aluminium
    comm = world()
    grid = np.stack(np.meshgrid(*[np.arange(4)] * 3, indexing="ij"), -1).reshape(-1, 3)
    basis = np.array([[0, 0, 0], [0, 1, 1], [1, 0, 1], [1, 1, 0]]) / 2
    x = 4.05 * (grid[:, None] + basis).reshape(-1, 3)
    x += 0.05 * np.random.default_rng(1).normal(size=x.shape)
    cluster = Cluster(aluminium(), comm)
    energy, forces = cluster.energy_forces(x)
    if comm.is_root:
        print(f"{energy:.6f} {np.abs(forces).sum():.6f}")
    cluster.close()
"""

ONE_RANK_FAILS = """
    import sys, time
    from prammol.comm import abort_on_exception, world
    comm = world()
    abort_on_exception(comm)
    if comm.rank == comm.size - 1:
        raise ZeroDivisionError("only here")
    comm.barrier()  # the others wait for it for ever
    print("not reached")
"""


@pytest.fixture
def script(parallel, tmp_path):
    """``script(n, text)``: a piece of python on n ranks."""

    def call(ranks, text, **options):
        path = tmp_path / "script.py"
        path.write_text(textwrap.dedent(text))
        return parallel(ranks, path, **options)

    return call


@pytest.mark.parametrize("ranks", [2, 3, 4])
def test_collectives(script, ranks):
    result = script(ranks, COLLECTIVES)
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == ["ranks", str(ranks)]


@pytest.mark.parametrize(("ranks", "planes"), [(2, 4), (3, 1), (4, 4)])
def test_gradient_likelihood_and_scale_are_those_of_one_process(script, ranks, planes):
    result = script(ranks, GRADIENT.replace("PLANES", str(planes)))
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == ["points", str(216 + 60 + 9 * planes)]


def test_energy_and_forces_are_those_of_one_process(script):
    alone = script(1, ENERGY)
    assert alone.returncode == 0, alone.stderr
    for ranks in (2, 3):
        together = script(ranks, ENERGY)
        assert together.returncode == 0, together.stderr
        for a, b in zip(alone.stdout.split(), together.stdout.split(), strict=True):
            assert float(b) == pytest.approx(float(a), abs=2e-6)


@pytest.mark.parametrize("ranks", [2, 3])
def test_an_exception_on_one_rank_ends_the_job_with_its_traceback(script, ranks):
    result = script(ranks, ONE_RANK_FAILS, timeout=60)
    assert result.returncode != 0
    assert "Traceback" in result.stderr
    assert "ZeroDivisionError: only here" in result.stderr
    assert f"rank {ranks - 1} of {ranks}" in result.stderr
    assert "not reached" not in result.stdout
