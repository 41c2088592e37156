"""Slices through a crystal: single layers of its lattice, which name their plane and place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import EllipseCollection
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from scipy.spatial import ConvexHull, QhullError, cKDTree

from prammol.evaluation.registration import neighbour_distance
from prammol.plotting.style import MARKS, miller
from prammol.structure.lattice_planes import CUBE, LatticePlanes, Layer, Miller

FloatArray = NDArray[np.float64]

_ATOM_SIZE = 0.76  # chosen: display, diameter of a drawn atom [neighbour distances]
_ALONE = 2.5  # chosen: display, size of a single atom [Å]
_AXES = "xyz"


@dataclass(frozen=True, eq=False)
class Cut:
    """One layer of a crystal, as it is seen from above.

    Attributes
    ----------
    plane : (int, int, int)
        Miller indices; without a lattice one of them is 1, for x, y or z.
    layer : Layer or None
        What tells which atoms are in it; None where no lattice fits: then it is a slab as
        thick as the neighbours' distance.
    place : (3,) ndarray
        Where the layer is [Å].
    middle : (3,) ndarray
        Centre of the crystal, from which places are counted [Å].
    size : float
        Nearest-neighbour distance [Å].
    """

    plane: Miller
    layer: Layer | None
    place: FloatArray
    middle: FloatArray
    size: float

    @property
    def axes(self) -> FloatArray:
        """Unit vectors to the right, up and towards the viewer, as rows."""
        if self.layer is not None:
            return self.layer.planes.axes(self.plane)[0]
        axis = self.plane.index(1)
        return np.eye(3)[[(axis + 1) % 3, (axis + 2) % 3, axis]]

    @property
    def labels(self) -> tuple[str, str]:
        """What the axes of the picture are."""
        if self.layer is not None:
            _, right, up = self.layer.planes.axes(self.plane)
            return f"along {miller(right, '[]')} (Å)", f"along {miller(up, '[]')} (Å)"
        axis = self.plane.index(1)
        return f"{_AXES[(axis + 1) % 3]} (Å)", f"{_AXES[(axis + 2) % 3]} (Å)"

    @property
    def title(self) -> str:
        """Name of the plane, and its distance from the centre of the crystal."""
        height = round(float((self.place - self.middle) @ self.axes[2]), 1)
        where = f"at {height:+.1f} Å".replace("-", "\N{MINUS SIGN}") if height else "at 0 Å"
        if self.layer is not None:
            return f"{miller(self.plane)} layer {where}"
        return f"{self.size:.1f} Å across {_AXES[self.plane.index(1)]} {where}"

    def holds(self, x: FloatArray) -> NDArray[np.bool_]:
        """Tell which of the places x, (n, 3) [Å], are in the layer."""
        if not len(x):
            return np.zeros(0, dtype=bool)
        if self.layer is not None:
            return self.layer.holds(x)
        return np.asarray(np.abs((x - self.place) @ self.axes[2]) <= self.size / 2)

    def flat(self, x: FloatArray) -> FloatArray:
        """Return where places are in the picture, (n, 2) [Å]."""
        return np.asarray((x - self.middle) @ self.axes[:2].T)


def cuts_through(
    x: FloatArray,
    planes: Sequence[Miller] = CUBE,
    wrong: FloatArray | None = None,
    centre: Sequence[float] | None = None,
) -> list[Cut]:
    """Return a layer along each plane, those that hold most wrong atoms if there are any.

    Else they go through ``centre``, or :func:`slice_centre`.

    Parameters
    ----------
    x : (n, 3) ndarray
        The crystal [Å].
    planes : sequence of (int, int, int)
        Miller indices.
    wrong : (m, 3) ndarray, optional
        Missing and extra atoms [Å].
    centre : (3,) sequence of float, optional
        Where the layers cross [Å].
    """
    size = neighbour_distance(x) if len(x) > 1 else _ALONE
    lattice = LatticePlanes.of(x)
    middle = x.mean(axis=0)
    at = slice_centre(x, size) if centre is None else np.asarray(centre, dtype=float)
    if lattice is None:
        turned = np.eye(3, dtype=int)[[2, 0, 1]]
        planes = [(int(a), int(b), int(c)) for a, b, c in turned[: len(planes)]]
    cuts = []
    for plane in planes:
        place, layer = at, None
        if lattice is not None:
            if centre is None and wrong is not None and len(wrong):
                number = lattice.layers(plane, wrong)
                common, count = np.unique(number, return_counts=True)
                place = wrong[number == common[count.argmax()]][0]
            layer = lattice.layer(plane, place)
            held = x[layer.holds(x)]
            if len(held):  # the mean of its atoms is where a layer is
                up = lattice.axes(plane)[0][2]
                place = place + up * float((held.mean(axis=0) - place) @ up)
        cuts.append(Cut(plane, layer, place, middle, size))
    return cuts


def slice_centre(x: FloatArray, neighbours: float) -> FloatArray:
    """Return a vacancy inside the crystal, or the atom nearest the centre.

    Around a vacancy, atoms deep inside have fewer neighbours than most.
    """
    middle = x.mean(axis=0)
    nearest = np.asarray(x[np.linalg.norm(x - middle, axis=1).argmin()])
    try:
        hull = ConvexHull(x).equations
    except (QhullError, ValueError):
        return nearest
    depth = -(x @ hull[:, :3].T + hull[:, 3]).max(axis=1)
    tree = cKDTree(x)
    number = tree.query_ball_point(x, 1.25 * neighbours, return_length=True)
    poor = np.flatnonzero(
        (number < np.median(number[depth > depth.max() / 2])) & (depth > 2 * neighbours)
    )
    if not len(poor):
        return nearest
    first = x[poor[np.linalg.norm(x[poor] - middle, axis=1).argmin()]]
    around = poor[np.linalg.norm(x[poor] - first, axis=1) < 2.1 * neighbours]
    return np.asarray(x[around].mean(axis=0))


def draw_discs(
    axes: Axes, places: FloatArray, size: float | FloatArray, **colour: Any
) -> EllipseCollection:
    """Draw atoms as discs.

    Parameters
    ----------
    axes : Axes
        Where to.
    places : (n, 2) ndarray
        [Å].
    size : float or (n,) ndarray
        Nearest-neighbour distance, less for parts of atoms [Å].
    **colour
        Of the discs: ``facecolors``, or ``array`` with ``norm`` and ``cmap``.
    """
    diameter = np.broadcast_to(_ATOM_SIZE * np.asarray(size, dtype=float), len(places))
    discs = EllipseCollection(
        diameter,
        diameter,
        np.zeros(len(places)),
        units="xy",
        offsets=places,
        offset_transform=axes.transData,
        **{"linewidths": 0.25, "edgecolors": "#40444B", **colour},
    )
    axes.add_collection(discs)
    return discs


def draw_layer(axes: Axes, cut: Cut, x: FloatArray, **colour: Any) -> EllipseCollection:
    """Draw those of the atoms at x, (n, 3) [Å], that are in a layer; ``array`` is of all atoms."""
    held = cut.holds(x)
    if "array" in colour:
        colour["array"] = np.asarray(colour["array"])[held]
    return draw_discs(axes, cut.flat(x[held]), cut.size, **colour)


def draw_marks(axes: Axes, cut: Cut, x: FloatArray, kind: str) -> None:
    """Mark missing or extra atoms at x, (n, 3) [Å], that are in a layer."""
    axes.plot(*cut.flat(x[cut.holds(x)]).T, linestyle="none", **MARKS[kind])


def legend_of_marks(**numbers: int) -> list[Line2D]:
    """Return what missing and extra atoms are marked with, and how many there are in all."""
    return [
        Line2D([], [], linestyle="none", label=f"{kind} atom ({n} in all)", **MARKS[kind])
        for kind, n in numbers.items()
    ]


def frame_alike(panels: Sequence[Sequence[Axes]], cuts: Sequence[Cut], x: FloatArray) -> None:
    """Give the panels of each cut one scale [Å] that holds the atoms at x, and label them."""
    shown = [cut.flat(x[cut.holds(x)]) for cut in cuts]
    low = [p.min(axis=0, initial=np.inf) if len(p) else np.zeros(2) for p in shown]
    high = [p.max(axis=0, initial=-np.inf) if len(p) else np.zeros(2) for p in shown]
    half = max(float((h - lo).max()) for h, lo in zip(high, low, strict=True)) / 2 + cuts[0].size
    for own, cut, lo, hi in zip(panels, cuts, low, high, strict=True):
        a, b = (lo + hi) / 2
        for axes in own:
            axes.set(xlim=(a - half, a + half), ylim=(b - half, b + half), aspect="equal")
            axes.set(xlabel=cut.labels[0], ylabel=cut.labels[1])
            for side in (axes.xaxis, axes.yaxis):
                side.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
