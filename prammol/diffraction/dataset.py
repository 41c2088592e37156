"""Measured diffraction: patches, photon counts, masks, and a rank's share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prammol.core.errors import DataError, InputError
from prammol.core.parallel import Communicator
from prammol.diffraction.bragg_patch import BraggPatch, require_independent, shard
from prammol.diffraction.calibration import GeometryUncertainty
from prammol.diffraction.curved_patch import CurvedPatch
from prammol.diffraction.peak_position import peak_points
from prammol.diffraction.response import Convolution, Response
from prammol.diffraction.structure_factor import squared
from prammol.diffraction.whole_counts import as_integers

# What detectors write where they see nothing: the largest numbers of 32 and 64 bits, and for bad
# pixels the ones before. Nobody counts them by chance, but a mask may be missing.
_NO_DATA = (2.0**32 - 1, 2.0**32 - 2, 2.0**64)  # derived: format, as doubles
# Beyond this doubles don't hold whole numbers, and squares leave single precision.
MOST_COUNTS = 1e18  # derived: its square, 1e36, is below the 3e38 of single precision


@dataclass(frozen=True)
class Diffraction:
    """Photon counts around several Bragg peaks of one crystal.

    Parameters
    ----------
    patches : sequence of BraggPatch
        Where was measured.
    counts : sequence of ndarray
        Photons per point, one array with the patch's shape per patch; whole ones become int32.
    valid : sequence of bool ndarray, optional
        False where the detector saw nothing (gap, beam stop, hot pixel); those
        points have no weight anywhere. All True if not given.
    meta : mapping
        What is known of the measurement: ``element``, ``flux`` [photons/um^2],
        ``scale`` (the true C, simulations only), ``seed``, ...
    source : str
        Name for messages, the file's usually.
    background : sequence of ndarray, optional
        Photons expected at each point that the crystal didn't scatter, one array with
        the patch's shape per patch: counts ~ Poisson(C^2 abs(Omega)^2 + background).
        None at all if not given.
    gain : sequence of ndarray, optional
        Known factors of the mean at each point, one array with the patch's shape per patch:
        counts ~ Poisson(C^2 gain abs(Omega)^2 + background). Exposure and monitor, attenuators,
        solid angle, polarisation, flat field, (f(q) / f(G))^2 of the form factor. 1 if not given.
    geometry : GeometryUncertainty
        How well the scattering vectors of each patch are known.
    response : Response, optional
        What pixels, rocking steps, partial coherence make of intensity; gain = g s, s smooth:
        counts ~ Poisson(g response of C^2 s abs(Omega)^2 + background). None if not given.
    unmeasured : (k, 3) ndarray
        Bragg vectors of reflections that are known but weren't measured [1/Å].
    bragg : (patches, 3) ndarray, optional
        What :meth:`peaks` returns, where a patch has a brighter peak of another grain [1/Å].

    Raises
    ------
    InputError
        If shapes don't fit, a gain isn't positive, or counts or background are negative, not
        finite or above 1e18.
    DataError
        If no photon was counted at all.
    """

    patches: Sequence[BraggPatch]
    counts: Sequence[NDArray[np.float64]]
    valid: Sequence[NDArray[np.bool_]] = ()
    meta: Mapping[str, Any] = field(default_factory=dict)
    source: str = "diffraction"
    background: Sequence[NDArray[np.float64]] = ()
    gain: Sequence[NDArray[np.float64]] = ()
    geometry: GeometryUncertainty = field(default_factory=GeometryUncertainty)
    response: Response | None = None
    unmeasured: NDArray[np.float64] = field(default_factory=lambda: np.empty((0, 3)))
    bragg: NDArray[np.float64] | None = None

    def __post_init__(self) -> None:
        if not self.valid:
            object.__setattr__(
                self, "valid", tuple(np.ones(p.shape, dtype=bool) for p in self.patches)
            )
        if not len(self.patches) == len(self.counts) == len(self.valid) > 0:
            msg = (
                f"{self.source}: {len(self.patches)} patches, {len(self.counts)} arrays of counts "
                f"and {len(self.valid)} masks, expected as many of each and at least one"
            )
            raise InputError(msg)
        self._check_background()
        self._check_gain()
        known = np.asarray(self.unmeasured, dtype=float).reshape(-1, 3)
        if not (np.isfinite(known).all() and known.any(axis=1).all()):
            msg = f"{self.source}: a known peak is {known.tolist()}, expected a vector other than 0"
            raise InputError(msg)
        object.__setattr__(self, "unmeasured", known)
        if self.response is not None and len(self.response.box) != len(self.patches):
            msg = (
                f"{self.source}: the response is of {len(self.response.box)} patches, expected "
                f"{len(self.patches)}"
            )
            raise InputError(msg)
        total = 0.0
        for k, (p, c, v) in enumerate(zip(self.patches, self.counts, self.valid, strict=True)):
            name = f"{self.source}: counts of patch {k + 1}"
            if c.shape != p.shape or v.shape != p.shape:
                msg = f"{name} have shape {c.shape} (mask {v.shape}), expected {p.shape}"
                raise InputError(msg)
            seen = c[v]
            highest = seen.max(initial=0.0)
            if highest in _NO_DATA:
                msg = (
                    f"{name}: {int((seen == highest).sum())} points are {highest:.0f}, the "
                    "detector's value for no data; mask them"
                )
                raise InputError(msg)
            if not np.isfinite(seen).all():
                msg = f"{name} contain NaN or infinity, expected photons or a mask"
                raise InputError(msg)
            if (seen < 0).any():
                msg = (
                    f"{name} contain negative numbers ({int((seen < 0).sum())} points, down to "
                    f"{seen.min():g}), expected photons; mask what the detector marks so"
                )
                raise InputError(msg)
            if highest > MOST_COUNTS:
                msg = f"{name} go up to {highest:.1e}, expected at most {MOST_COUNTS:.0e} photons"
                raise InputError(msg)
            total += float(seen.sum())
        object.__setattr__(self, "counts", tuple(as_integers(c) for c in self.counts))
        if not any(v.any() for v in self.valid):
            msg = f"{self.source}: has no valid point, the masks hide all (0 is a good one in CXI)"
            raise DataError(msg)
        if total == 0:
            msg = f"{self.source}: not one photon was counted, the flux is too low"
            raise DataError(msg)

    def _check_background(self) -> None:
        if not self.background:
            return
        if len(self.background) != len(self.patches):
            msg = (
                f"{self.source}: {len(self.patches)} patches and {len(self.background)} arrays of "
                f"background, expected as many of each"
            )
            raise InputError(msg)
        for k, (p, b, v) in enumerate(zip(self.patches, self.background, self.valid, strict=True)):
            name = f"{self.source}: background of patch {k + 1}"
            if b.shape != p.shape:
                msg = f"{name} has shape {b.shape}, expected {p.shape}"
                raise InputError(msg)
            if not ((b[v] >= 0).all() and (b[v] <= MOST_COUNTS).all()):
                msg = (
                    f"{name} contains NaN, negative numbers or more than {MOST_COUNTS:.0e}, "
                    f"expected photons"
                )
                raise InputError(msg)

    def _check_gain(self) -> None:
        if not self.gain:
            return
        shapes = [np.shape(g) for g in self.gain]
        if shapes != [p.shape for p in self.patches]:
            expected = [p.shape for p in self.patches]
            msg = f"{self.source}: the gains have shapes {shapes}, expected {expected}"
            raise InputError(msg)
        for k, (g, v) in enumerate(zip(self.gain, self.valid, strict=True)):
            if not (np.isfinite(g[v]).all() and (g[v] > 0).all()):
                msg = (
                    f"{self.source}: gain of patch {k + 1} has points that aren't positive "
                    "numbers, expected factors above 0, or a mask"
                )
                raise InputError(msg)

    def of_patches(self, chosen: Sequence[int]) -> Diffraction:
        """Return what was measured around some of the peaks, their patches from 0."""
        names = ("patches", "counts", "valid", "background", "gain")
        every = {name: getattr(self, name) for name in names}
        kept: dict[str, Any] = {n: [v[k] for k in chosen] for n, v in every.items() if len(v)}
        rows, widths = list(chosen), self.response
        if widths is not None:
            kept["response"] = replace(widths, box=widths.box[rows], blur=widths.blur[rows])
        if self.bragg is not None:
            kept["bragg"] = self.bragg[rows]
        return replace(self, **kept)

    def described(self) -> dict[str, Any]:
        """Return what is known of the measurement, for the provenance of a result."""
        known = {k: v for k, v in self.meta.items() if k != "provenance"}
        return {**known, "response": None if self.response is None else self.response.widths()}

    def signal(self, k: int) -> NDArray[np.float64]:
        """Return the counts of patch k (0 is the first) less its background, at least 0."""
        if not self.background:
            return self.counts[k]
        return np.maximum(self.counts[k] - self.background[k], 0.0)

    def gridded(self, k: int) -> tuple[BraggPatch, NDArray[np.float64], NDArray[np.bool_]]:
        """Return patch k, its signal and mask on an affine grid, for phase retrieval.

        They are those of the detector, unless the patch is curved: then interpolated. The
        signal is divided by the gain.
        """
        patch, signal = self.patches[k], self.signal(k)
        if self.gain:
            signal = np.where(self.valid[k], signal / np.where(self.valid[k], self.gain[k], 1.0), 0)
        if isinstance(patch, CurvedPatch):
            return patch.affine, *patch.regridded(signal, self.valid[k])
        return patch, signal, self.valid[k]

    @property
    def total_counts(self) -> float:
        """Photons in all valid points."""
        pairs = zip(self.counts, self.valid, strict=True)
        return float(sum(c[v].sum() for c, v in pairs))

    def peaks(self) -> NDArray[np.float64]:
        """Return the scattering vector of each Bragg peak, (patches, 3) [1/Å].

        See :func:`prammol.diffraction.peak_position.peak_points`.
        """
        if self.bragg is not None:
            return self.bragg
        out = np.empty((len(self.patches), 3))
        for k, (p, v) in enumerate(zip(self.patches, self.valid, strict=True)):
            index, weight = peak_points(self.counts[k], v, np.where(v, self.signal(k), 0.0))
            out[k] = weight @ p.at(index) / weight.sum()
        return out

    def fractional(self) -> list[int]:
        """Return the patches, from 0, whose counts aren't all whole numbers, as photons are."""
        pairs = zip(self.counts, self.valid, strict=True)
        return [k for k, (c, v) in enumerate(pairs) if (c[v] != np.rint(c[v])).any()]

    def mostly_masked(self) -> list[tuple[int, float]]:
        """Return patches, from 0, of which masks hide more than a half, and the fraction."""
        hidden = [1 - float(np.mean(v)) for v in self.valid]
        return [(k, part) for k, part in enumerate(hidden) if part > 0.5]

    def require_photons(self) -> None:
        """Raise DataError if a patch shows no peak, or if the counts can't be photons."""
        for k, v in enumerate(self.valid):
            if not v.any():
                msg = (
                    f"{self.source}: patch {k + 1} has no valid point, its mask hides all "
                    "(0 is a good one in CXI); mend the mask or leave the patch out"
                )
                raise DataError(msg)
            if not self.signal(k)[v].any():
                msg = (
                    f"{self.source}: patch {k + 1} has no photon beyond its background in "
                    f"{int(v.sum())} valid points, its peak can't be found; leave the patch out"
                )
                raise DataError(msg)
        brightest = max(float(c[v].max()) for c, v in zip(self.counts, self.valid, strict=True))
        if brightest <= 1 and self.fractional():
            msg = (
                f"{self.source}: the brightest point has {brightest:.3g} counts and they aren't "
                f"whole numbers, expected photons as they were counted; are they normalised?"
            )
            raise DataError(msg)

    def require_three_dimensions(self) -> None:
        """Raise DataError if a patch has no peak or the peaks leave a direction undetermined.

        Reflections that are known count as peaks.
        """
        self.require_photons()
        require_independent(np.vstack([self.peaks(), self.unmeasured]), self.source)


@dataclass(frozen=True)
class Shard:
    """The points of a :class:`Diffraction` that one rank owns.

    Attributes
    ----------
    patches : list of BraggPatch
        This rank's slabs.
    patch_index : (m,) int16 ndarray
        Patch each point belongs to.
    global_index : (m,) int32 or int64 ndarray
        Number of each point among all, the same for any number of ranks.
    counts : (m,) ndarray
        Photons; 0 where not valid.
    valid : (m,) bool ndarray
        Points with a weight.
    background : (m,) ndarray or None
        Expected background [photons], 0 where not valid; None if there is none.
    total_points : int
        Points of all ranks together.
    comm : Communicator
    amplitude : (m,) ndarray or None
        Root of the gain; None if it is 1 everywhere.
    response : Convolution or None
        What the detector makes of the intensity; None if each point sees its own alone.
    trust : (m,) ndarray or None
        Variance of the counts over that with the error of a predicted background; None if 1.
    beside : (m,) complex ndarray or None
        Structure factor of matter that isn't the object.
    """

    patches: list[BraggPatch]
    patch_index: NDArray[np.int_]
    global_index: NDArray[np.int_]
    counts: NDArray[np.float64]
    valid: NDArray[np.bool_]
    background: NDArray[np.float64] | None
    total_points: int
    comm: Communicator
    amplitude: NDArray[np.float64] | None = None
    response: Convolution | None = None
    trust: NDArray[np.float64] | None = None
    beside: NDArray[np.complex128] | None = None

    @property
    def size(self) -> int:
        """Number of points on this rank."""
        return len(self.counts)

    @property
    def signal(self) -> NDArray[np.float64]:
        """Counts less background, at least 0, (m,)."""
        dark = self.background
        return self.counts if dark is None else np.maximum(self.counts - dark, 0.0)

    @property
    def weight(self) -> NDArray[np.float64]:
        """Weight of each point, (m,)."""
        return self.valid.astype(float) if self.trust is None else self.valid * self.trust

    def whole(self, omega: NDArray[np.complex128]) -> NDArray[np.complex128]:
        """Return the structure factor of an object and all matter beside it, (m,)."""
        return omega if self.beside is None else omega + self.beside

    def detected(self, omega: NDArray[np.complex128]) -> NDArray[np.float64]:
        """Return what the detector sees of an object, abs(whole)^2, (m,); all ranks together."""
        seen = squared(self.whole(omega))  # in the dark, what rounding leaves has either sign
        return seen if self.response is None else np.maximum(self.response.apply(seen), 0.0)

    def seen(self, omega: NDArray[np.complex128]) -> NDArray[np.complex128]:
        """Return amplitudes whose square is what the detector sees: the whole if that is all."""
        whole = self.response is None
        return self.whole(omega) if whole else np.sqrt(self.detected(omega)).astype(complex)

    @property
    def visibility(self) -> NDArray[np.float64] | float:
        """How much the detector leaves of an atom's interference with the others, (m,) or 1.0."""
        return 1.0 if self.response is None else self.response.visibility[self.patch_index]

    def background_at(
        self, points: NDArray[np.bool_] | NDArray[np.int_] | slice
    ) -> NDArray[np.float64] | float:
        """Return the background of some points, 0.0 if there is none anywhere."""
        return 0.0 if self.background is None else self.background[points]


def local_shard(data: Diffraction, comm: Communicator) -> Shard:
    """Return this rank's share of the points, contiguous slabs of the patches."""
    starts = np.cumsum([0] + [p.size for p in data.patches])
    kind = np.int32 if starts[-1] <= np.iinfo(np.int32).max else np.int64
    patches, index, numbers, counts, valid = [], [], [], [], []
    background, amplitude = [], []
    for s in shard(data.patches, comm):
        whole = data.patches[s.patch_index]
        part = whole.planes(s.start, s.stop)
        plane = whole.size // whole.shape[0]
        patches.append(part)
        index.append(np.full(part.size, s.patch_index, dtype=np.int16))
        first = starts[s.patch_index] + s.start * plane
        numbers.append(np.arange(first, first + part.size, dtype=kind))
        v = np.asarray(data.valid[s.patch_index][s.start : s.stop], dtype=bool).ravel()
        c = np.asarray(data.counts[s.patch_index][s.start : s.stop], dtype=float).ravel()
        counts.append(np.where(v, c, 0.0))
        valid.append(v)
        if data.background:
            b = np.asarray(data.background[s.patch_index][s.start : s.stop], dtype=float).ravel()
            background.append(np.where(v, b, 0.0))
        if data.gain:
            g = np.asarray(data.gain[s.patch_index][s.start : s.stop], dtype=float).ravel()
            amplitude.append(np.sqrt(np.where(v, g, 1.0)))
    empty = np.empty(0)
    return Shard(
        patches=patches,
        patch_index=np.concatenate([empty.astype(np.int16), *index]),
        global_index=np.concatenate([empty.astype(kind), *numbers]),
        counts=np.concatenate(counts) if counts else empty,
        valid=np.concatenate(valid) if valid else empty.astype(bool),
        background=np.concatenate([empty, *background]) if data.background else None,
        total_points=int(starts[-1]),
        comm=comm,
        amplitude=np.concatenate([empty, *amplitude]) if data.gain else None,
    )
