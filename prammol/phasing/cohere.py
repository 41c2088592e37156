"""Phase retrieval with shrink-wrap by the library cohere, with gaps in the detector.

cohere itself (https://github.com/AdvancedPhotonSource/cohere) knows no gaps and starts from the
clock: here the amplitudes of unmeasured points are renewed after each round, and the start is
given.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import os
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from prammol.core.errors import InputError

FloatArray = NDArray[np.float64]

# Shrink-wrap's blur in voxels, from coarse to fine (Marchesini et al. 2003), and what
# is done at each; the support is renewed at the start of every block of ER.
# derived: blurs by Marchesini et al.; lengths chosen, not varied
_ROUNDS = (
    (2.0, "2*(20*ER.SW+80*HIO)+20*ER"),
    (1.0, "2*(20*ER.SW+80*HIO)+20*ER"),
    (0.7, "20*ER.SW+60*HIO+40*ER"),
)
# Behind gaps, short rounds more, since what is in the gaps is renewed after each.
_GAPS = ((0.7, "20*ER.SW+20*HIO+20*ER"),) * 8  # chosen: not varied
# chosen: not varied
_SHRINK = 0.1  # of the largest blurred amplitude


def require_cohere() -> None:
    """Raise InputError if the library isn't installed."""
    if importlib.util.find_spec("cohere_core") is None:
        msg = (
            "phase retrieval needs the package cohere_core, which isn't installed; "
            "pip install 'prammol[phasing]' brings it"
        )
        raise InputError(msg)


def phase_from(
    wave: NDArray[np.complex128],
    spectrum: FloatArray,
    known: NDArray[np.bool_],
    inside: NDArray[np.bool_],
) -> tuple[float, FloatArray]:
    """Return error and modulus after all rounds from one start.

    Parameters
    ----------
    wave : complex ndarray
        Structure factor whose phases to start from, zero frequency in the corner.
    spectrum : ndarray
        Measured amplitudes.
    known : bool ndarray
        Where they were measured.
    inside : bool ndarray
        Support to start from.

    Returns
    -------
    error : float
        Relative misfit of the measured amplitudes.
    modulus : ndarray
        Of the object.
    """
    rounds = _ROUNDS if known.all() else _ROUNDS + _GAPS
    spectrum = filled_gaps(spectrum, known)
    image = np.fft.fftn(wave, norm="forward") * inside
    for sigma, sequence in rounds:
        image, inside = _cohere(spectrum, image, inside, sigma, sequence)
        model = np.abs(np.fft.ifftn(image * inside, norm="forward"))
        weight = float((model[known] ** 2).sum())
        scale = float((model * spectrum)[known].sum()) / max(weight, 1e-300)
        spectrum = np.where(known, spectrum, scale * model)
        image = scale * image
    misfit = np.linalg.norm((scale * model - spectrum)[known])
    return float(misfit / np.linalg.norm(spectrum[known])), np.abs(image * inside)


def _cohere(
    spectrum: FloatArray,
    image: NDArray[np.complex128],
    inside: NDArray[np.bool_],
    sigma: float,
    sequence: str,
) -> tuple[NDArray[np.complex128], NDArray[np.bool_]]:
    """Run a sequence of cohere from an image and a support.

    It reads both from files. Continuing from an image of ours is also the only way to
    a reproducible start: its own is seeded by the clock.
    """
    # cohere imports matplotlib.pyplot, which may look for a screen
    os.environ.setdefault("MPLBACKEND", "Agg")
    quiet = io.StringIO()
    with (
        tempfile.TemporaryDirectory() as folder,
        contextlib.redirect_stdout(quiet),
        warnings.catch_warnings(),
        np.errstate(all="ignore"),
    ):
        warnings.simplefilter("ignore")
        import cohere_core.controller.phasing as cohere

        data = Path(folder, "data.npy")
        np.save(data, np.fft.fftshift(spectrum))
        np.save(Path(folder, "image.npy"), image)
        np.save(Path(folder, "support.npy"), inside.astype(int))
        settings: dict[str, Any] = {
            "algorithm_sequence": sequence,
            "shrink_wrap_trigger": [1, 20],
            "shrink_wrap_type": "GAUSS",
            "shrink_wrap_threshold": _SHRINK,
            "shrink_wrap_gauss_sigma": sigma,
            "hio_beta": 0.9,
            "init_guess": "continue",
            "continue_dir": folder,
        }
        work = cohere.create_rec(settings, str(data), "np", -1, debug=True)
        work.iterate()
    return np.asarray(work.get_image()), np.asarray(work.get_support(), dtype=bool)


def filled_gaps(spectrum: FloatArray, known: NDArray[np.bool_]) -> FloatArray:
    """Return amplitudes with the gaps filled by a weighted mean of what is around."""
    if known.all():
        return spectrum
    near = ndimage.gaussian_filter(np.where(known, spectrum, 0.0), 1.0, mode="wrap")
    weight = ndimage.gaussian_filter(known.astype(float), 1.0, mode="wrap")
    return np.where(known, spectrum, near / np.maximum(weight, 1e-3))
