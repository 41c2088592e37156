"""Several processes: sums, the kernels on slabs, and the end of a job that fails."""

from __future__ import annotations

import json
import textwrap

import numpy as np
import pytest
from forking import prammol_in

from prammol.io import read_atoms, read_diffraction, read_reconstruction

pytestmark = pytest.mark.mpi

COLLECTIVES = """
    import numpy as np
    from prammol.core.parallel import world
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
    from prammol.core.parallel import world
    from prammol.diffraction.dataset import Diffraction, local_shard
    from prammol.likelihood.poisson import amplitude_scale, poisson_log_likelihood, residual_weights
    from prammol.diffraction.bragg_patch import BraggPatch, cubic_patch
    from prammol.diffraction.structure_factor import StructureFactor, direct_structure_factor
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

RESPONSE = """
    import numpy as np
    from prammol.core.parallel import Communicator, world
    from prammol.diffraction.bragg_patch import cubic_patch
    from prammol.diffraction.dataset import Diffraction, local_shard
    from prammol.diffraction.response import Extent, Response
    from prammol.reconstruction.problem import responding
    comm = world()
    rng = np.random.default_rng(5)
    patches = [cubic_patch(h, 0.3, n, 4.05) for h, n in (((-1, 1, 1), 9), ((1, -1, 1), 7))]
    counts = [rng.poisson(1e6, p.shape).astype(float) for p in patches]
    extent = Extent(rng.uniform(-7, 7, (20, 3)))
    for blur in (0.5, (0.5, 0.5, 0.0), (0.0, 0.0, 0.5)):
        box = (3, 1, 0) if blur != (0.0, 0.0, 0.5) else 0.0
        data = Diffraction(patches, counts, response=Response.of(2, box, blur))
        shard = responding(local_shard(data, comm), data, extent)
        alone = responding(local_shard(data, Communicator()), data, extent)
        assert 0.2 < alone.valid.mean() <= 1.0
        values = rng.normal(size=(2, alone.size))
        here = shard.global_index
        np.testing.assert_array_equal(shard.valid, alone.valid[here])
        for name in ("apply", "adjoint"):
            mine = getattr(shard.response, name)(values[:, here])
            every = getattr(alone.response, name)(values)[:, here]
            np.testing.assert_allclose(mine, every, rtol=0, atol=1e-12)
    if comm.is_root:
        print("response", comm.size)
"""

ENERGY = """
    import numpy as np
    from prammol.core.parallel import world
    from prammol.potentials.lammps import Cluster
    from prammol.potentials.potential import aluminium
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
    from prammol.core.parallel import abort_on_exception, world
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


@pytest.mark.parametrize(("ranks", "planes"), [(3, 1), (4, 4)])
def test_gradient_likelihood_and_scale_are_those_of_one_process(script, ranks, planes):
    result = script(ranks, GRADIENT.replace("PLANES", str(planes)))
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == ["points", str(216 + 60 + 9 * planes)]


def test_the_response_is_that_of_one_process(script):
    result = script(3, RESPONSE)
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == ["response", "3"]


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


BY_ITSELF = """
    from prammol.cli import main as cli
    from prammol.cli.commands import reconstruct
    from prammol.core.parallel import world
    from prammol.core.errors import SimulationError

    def run(options, comm):
        if comm.rank == 1:
            raise SimulationError("an atom was lost")
        comm.barrier()

    reconstruct.run = run
    cli.end_with.__defaults__ = (None, 1.0)
    raise SystemExit(cli.run("reconstruct d.h5 --support u.h5 -o r.h5".split()))
"""

BUG = """
    from prammol.cli import main as cli
    from prammol.cli.commands import reconstruct

    def run(options, comm):
        if comm.rank == 1:
            raise ZeroDivisionError("a bug")
        comm.barrier()

    reconstruct.run = run
    raise SystemExit(cli.run("reconstruct d.h5 --support u.h5 -o r.h5".split()))
"""


def test_a_users_error_is_one_sentence_and_exit_code_2_on_all_ranks(parallel, small, tmp_path):
    d, u = small / "d.h5", small / "u.h5"
    for arguments, text in (
        (["nowhere.h5", "--support", u], "nowhere.h5: no such file"),
        ([d, "--support", u, "--preset", "papre"], "did you mean 'paper'"),
        ([d, "--support", u, "--sed", "1"], "--sed"),
    ):
        done = parallel(2, "-m", "prammol", "reconstruct", *arguments, "-o", "r.h5", timeout=60)
        assert done.returncode == 2
        lines = [line for line in done.stderr.splitlines() if line.startswith("prammol: ")]
        assert len(lines) == 1, done.stderr
        assert text in lines[0]
        assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_an_error_on_one_rank_alone_ends_the_job_with_its_sentence(script):
    done = script(3, BY_ITSELF, timeout=60)
    assert done.returncode in (2, 9)  # mpiexec may return that of a rank it has killed
    assert "prammol: an atom was lost" in done.stderr


def test_a_bug_on_one_rank_ends_the_job_with_its_traceback(script):
    done = script(2, BUG, timeout=60)
    assert done.returncode == 1
    assert "rank 1 of 2" in done.stderr
    assert "ZeroDivisionError: a bug" in done.stderr


def test_verbs_that_are_not_shared_run_once(parallel, small, tmp_path):
    done = parallel(
        2,
        "-m",
        "prammol",
        "evaluate",
        small / "r.h5",
        "--truth",
        small / "s.xyz",
        "--json",
        "m.json",
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("missing") == 1
    assert (tmp_path / "m.json").exists()


def test_a_crystal_and_its_diffraction_are_those_of_one_process(parallel, tmp_path):
    crystal = ["crystal", "vacancy", "--atoms", "200", "--seed", "3", "-o"]
    counts = ["simulate", "1.xyz", "--flux", "1e18", "--points", "8", "--seed", "3", "-o"]
    assert prammol_in(tmp_path, *crystal, "1.xyz").returncode == 0
    assert parallel(3, "-m", "prammol", *crystal, "3.xyz").returncode == 0
    one, three = read_atoms(tmp_path / "1.xyz"), read_atoms(tmp_path / "3.xyz")
    np.testing.assert_allclose(three.positions, one.positions, atol=1e-5)
    assert prammol_in(tmp_path, *counts, "1.h5").returncode == 0
    assert parallel(2, "-m", "prammol", *counts, "2.h5").returncode == 0
    a, b = read_diffraction(tmp_path / "1.h5"), read_diffraction(tmp_path / "2.h5")
    for i, j in zip(a.counts, b.counts, strict=True):
        np.testing.assert_array_equal(i, j)


@pytest.fixture(scope="module")
def grain(tmp_path_factory):
    """A folder with ``s.xyz``, a relaxed grain of 300 atoms, its counts and its support."""
    folder = tmp_path_factory.mktemp("grain")
    for command in (
        "crystal bulk --atoms 300 --seed 6 -o s.xyz",
        "simulate s.xyz --flux 1e20 --points 32 --seed 1 -o d.h5",
        "support d.h5 --from-truth s.xyz --resolution 5 -o u.h5",
    ):
        done = prammol_in(folder, *command.split())
        assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.parametrize("numbers", [(1, 3), pytest.param((1, 2, 4), marks=pytest.mark.slow)])
def test_preset_paper_finds_the_same_atoms_on_any_number_of_ranks(
    parallel, small, tmp_path, numbers
):
    """The same sets exactly; positions as well as the minimiser determines them, to 1e-4 Å."""
    settings = [
        "max_iterations=2",
        "relax_subset.force_tolerance=1e-6",
        "relax_subset.max_iterations=3000",
    ]
    command = [
        "-m", "prammol", "reconstruct", small / "d.h5", "--support", small / "u.h5",
        "--preset", "paper", "--seed", "7", *(f"--set={s}" for s in settings),
    ]  # fmt: skip
    found = {}
    for ranks in numbers:
        done = parallel(ranks, *command, "-o", f"{ranks}.h5", timeout=150)
        assert done.returncode == 3, done.stderr
        assert done.stderr.count("iteration ") == 1
        found[ranks] = read_reconstruction(tmp_path / f"{ranks}.h5")
    require_the_same(found, 1e-4)


@pytest.mark.parametrize("numbers", [(1, 2), pytest.param((1, 3, 4), marks=pytest.mark.slow)])
def test_a_whole_crystal_is_found_exactly_on_any_number_of_ranks(
    parallel, grain, tmp_path, numbers
):
    """Every atom, and the same ones: 300 atoms from their counts, by preset default."""
    found = {}
    for ranks in numbers:
        done = parallel(
            ranks, "-m", "prammol", "reconstruct", grain / "d.h5", "--support", grain / "u.h5",
            "--seed", "1", "-o", f"{ranks}.h5", timeout=400,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        found[ranks] = read_reconstruction(tmp_path / f"{ranks}.h5")
        truth = ["--truth", grain / "s.xyz", "--json", f"{ranks}.json"]
        assert prammol_in(tmp_path, "evaluate", f"{ranks}.h5", *truth).returncode == 0
        metrics = json.loads((tmp_path / f"{ranks}.json").read_text())
        assert (metrics["n_atoms"], metrics["n_missing"], metrics["n_extra"]) == (300, 0, 0)
        assert metrics["max_error_pm"] < 0.1
        assert metrics["scale_ratio"] == pytest.approx(1, abs=1e-3)
        assert (metrics["ranks"], metrics["converged"]) == (ranks, True)
    require_the_same(found, 1e-6)


def require_the_same(found, tolerance):
    """Check that results by number of ranks have the same history, atoms and scale."""
    one = found[1]
    for ranks, result in found.items():
        assert result.ranks == ranks
        assert [h["atoms"] for h in result.history] == [h["atoms"] for h in one.history]
        np.testing.assert_allclose(result.atoms.positions, one.atoms.positions, atol=tolerance)
        assert result.scale == pytest.approx(one.scale, rel=1e-6)
