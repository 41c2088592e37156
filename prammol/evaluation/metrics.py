"""Compare a reconstruction with the true crystal."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prammol.core.errors import InputError
from prammol.evaluation.mean_scattering import MeanScattering
from prammol.evaluation.registration import Registration, neighbour_distance, register
from prammol.evaluation.resolution import resolution
from prammol.evaluation.trajectory_statistics import hops
from prammol.reconstruction.result import Reconstruction
from prammol.structure.atoms import Atoms

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int_]

PM_PER_ANGSTROM = 100.0  # derived: units


# What is compared with a truth, as metrics.json and the tables of the workflow name it.
NUMBERS = (
    "n_atoms",
    "n_true",
    "n_missing",
    "n_extra",
    "mae_pm",
    "rmse_pm",
    "max_error_pm",
    "resolution_angstrom",
)


@dataclass(frozen=True, eq=False)
class Metrics:
    """How a reconstruction differs from the truth, after registration.

    An error is the distance of a found atom from its partner. Errors are over
    matched pairs only: read them together with the missing and extra atoms.

    Attributes
    ----------
    n_atoms, n_true : int
        Atoms found and true.
    n_missing, n_extra : int
        True atoms nobody found, found atoms that aren't true.
    mae_pm, rmse_pm, max_error_pm : float
        Mean, root mean square and largest error [pm]; NaN without any pair.
    resolution_angstrom : float
        pi / q_c [Å], NaN if it was not asked for or there are no atoms.
    found_index, truth_index : (k,) int ndarray
        The matched pairs.
    errors_pm : (k,) ndarray
        Error of each pair [pm].
    missing : (n_missing,) int ndarray
        Numbers of true atoms without a partner.
    extra : (n_extra,) int ndarray
        Numbers of found atoms without a partner.
    positions : (n_atoms, 3) ndarray
        The found atoms in the frame of the truth [Å].
    registration : Registration
        The translation and inversion that were applied.
    wrong_element : (n_wrong_element,) int ndarray or None
        Numbers of found atoms whose partner has another element; None if there is one element.
    """

    n_atoms: int
    n_true: int
    n_missing: int
    n_extra: int
    mae_pm: float
    rmse_pm: float
    max_error_pm: float
    resolution_angstrom: float
    found_index: IntArray
    truth_index: IntArray
    errors_pm: FloatArray
    missing: IntArray
    extra: IntArray
    positions: FloatArray
    registration: Registration
    wrong_element: IntArray | None = None

    @property
    def n_wrong_element(self) -> int | None:
        """Found atoms whose partner has another element; None if there is one element."""
        return None if self.wrong_element is None else len(self.wrong_element)

    def summary(self) -> dict[str, Any]:
        """Return the numbers for ``metrics.json``; NaN becomes None."""
        values = {name: getattr(self, name) for name in NUMBERS}
        if self.wrong_element is not None:
            values["n_wrong_element"] = len(self.wrong_element)
        return {k: None if np.isnan(v) else v for k, v in values.items()}


def evaluate(
    found: Atoms | FloatArray,
    truth: Atoms | FloatArray,
    *,
    neighbours: float | None = None,
    with_resolution: bool = True,
) -> Metrics:
    """Register a reconstruction with the truth, match the atoms and measure.

    Parameters
    ----------
    found : Atoms or (n, 3) ndarray
        The reconstruction [Å].
    truth : Atoms or (m, 3) ndarray
        The true crystal [Å].
    neighbours : float, optional
        Nearest-neighbour distance [Å], the median of the truth's if not given.
        Atoms pair within half of it.
    with_resolution : bool
        Whether to compute pi / q_c, which takes most of the time.

    Returns
    -------
    Metrics

    Raises
    ------
    InputError
        If the elements differ, or the truth has fewer than two atoms.
    """
    named = (found, truth) if isinstance(found, Atoms) and isinstance(truth, Atoms) else None
    if named is not None and not set(named[0].elements) & set(named[1].elements):
        msg = (
            f"the truth is made of {', '.join(named[1].elements)}, the reconstruction of "
            f"{', '.join(named[0].elements)}; expected the same element"
        )
        raise InputError(msg)
    x = found.positions if isinstance(found, Atoms) else np.asarray(found, dtype=float)
    y = truth.positions if isinstance(truth, Atoms) else np.asarray(truth, dtype=float)
    if neighbours is None:
        neighbours = neighbour_distance(y)
    registration = register(x, y, neighbours)
    moved = registration.apply(x)
    partner = registration.partner
    found_index = np.flatnonzero(partner >= 0)
    truth_index = partner[found_index]
    errors = PM_PER_ANGSTROM * np.linalg.norm(moved[found_index] - y[truth_index], axis=1)
    missing = np.setdiff1d(np.arange(len(y)), truth_index)
    wrong = None
    if named is not None and len({*named[0].elements, *named[1].elements}) > 1:
        same = named[0].symbols[found_index] == named[1].symbols[truth_index]
        wrong = found_index[~same]
    extra = np.flatnonzero(partner < 0)
    some = len(errors) > 0
    sharp = with_resolution and len(x) > 0
    return Metrics(
        n_atoms=len(x),
        n_true=len(y),
        n_missing=len(missing),
        n_extra=len(extra),
        mae_pm=float(errors.mean()) if some else float("nan"),
        rmse_pm=float(np.sqrt((errors**2).mean())) if some else float("nan"),
        max_error_pm=float(errors.max()) if some else float("nan"),
        resolution_angstrom=(
            resolution([moved], y, registered=True).value if sharp else float("nan")
        ),
        found_index=found_index,
        truth_index=truth_index,
        errors_pm=errors,
        missing=missing,
        extra=extra,
        positions=moved,
        registration=registration,
        wrong_element=wrong,
    )


def against_scattering(
    result: Reconstruction, metrics: Metrics, scattering: MeanScattering
) -> float | None:
    """Return pi / q_c [Å] of a reconstruction against the mean scattering of a trajectory.

    Parameters
    ----------
    result : Reconstruction
        Its mean density counts, its atoms if it has none.
    metrics : Metrics
        Comparison with the mean positions, whose frame is that of the trajectory.
    scattering : MeanScattering

    Returns
    -------
    float or None
        An upper bound if no shell fails; None without any atom.
    """
    sites = result.atoms if result.density is None else result.density
    if not len(sites):
        return None
    moved = metrics.registration.apply(sites.positions)
    return scattering.resolution(moved, sites.columns.get("occupancy")).value


@dataclass(frozen=True)
class OfStaying:
    """What is known of a warm crystal's atoms that stay in one place.

    The truth of a warm crystal is a mean over its motion. Atoms that hop have a mean where they
    never are, and no reconstruction finds them there.

    Attributes
    ----------
    n_hopping : int
        True atoms that hop, :func:`prammol.evaluation.trajectory_statistics.hops`.
    n_missing_staying : int
        Missing atoms that don't.
    resolution_staying_angstrom : float
        pi / q_c [Å] of the found atoms that don't against the true ones that don't. Extra atoms
        have no part in it.
    """

    n_hopping: int
    n_missing_staying: int
    resolution_staying_angstrom: float

    def summary(self) -> dict[str, Any]:
        """Return the numbers for ``metrics.json``; NaN becomes None."""
        values = asdict(self)
        return {k: None if np.isnan(v) else v for k, v in values.items()}


def of_staying(metrics: Metrics, truth: Atoms) -> OfStaying | None:
    """Return what a comparison says of the atoms that stay, None if the truth doesn't move.

    Parameters
    ----------
    metrics : Metrics
        Comparison of a reconstruction with the truth.
    truth : Atoms
        Mean positions with the column ``mean_square_displacement`` [Å^2].
    """
    motion = truth.columns.get("mean_square_displacement")
    if motion is None:
        return None
    y = truth.positions
    hopping = hops(np.asarray(motion, dtype=float), neighbour_distance(y))
    partner = metrics.truth_index
    x = metrics.positions[metrics.found_index[~hopping[partner]]]
    some = len(x) > 0
    return OfStaying(
        n_hopping=int(hopping.sum()),
        n_missing_staying=int((~hopping[metrics.missing]).sum()),
        resolution_staying_angstrom=(
            resolution([x], y[~hopping], registered=True).value if some else float("nan")
        ),
    )
