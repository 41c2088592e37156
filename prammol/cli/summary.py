"""The table that a reconstruction ends with."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from prammol.cli.progress import print_table
from prammol.reconstruction.result import Reconstruction


def print_summary(outputs: Iterable[Path], result: Reconstruction, peak_mib: float) -> None:
    """Print the table that a reconstruction ends with.

    Parameters
    ----------
    outputs : iterable of Path
        Files that may have been written.
    result : Reconstruction
    peak_mib : float
        Memory of the largest rank [MiB].
    """
    last = result.history[-1] if result.history else {}
    calibration = result.calibration
    fitted = {}
    if calibration is not None:
        fitted["scales"] = ", ".join(f"{c:.4g}" for c in calibration.amplitude) + " of C"
        offset = np.linalg.norm(calibration.offset, axis=1)
        angle = np.degrees(np.linalg.norm(calibration.rotation, axis=1))
        fitted["offsets"] = ", ".join(f"{d:.2g}" for d in offset) + " 1/Å"
        for name, photons in calibration.terms.items():
            fitted[f"{name} background"] = ", ".join(f"{b:.3g}" for b in photons) + " photons"
        if calibration.blur.any():
            widths = zip(calibration.blur, calibration.blur_error, strict=True)
            fitted["blur"] = ", ".join(f"{s:.3g} ± {e:.1g}" for s, e in widths) + " steps"
        fitted["rotations"] = ", ".join(f"{a:.2g}" for a in angle) + " degrees"
    print_table(
        {
            "atoms": len(result.atoms),
            "C": f"{result.scale:.6g} sqrt(photons)",
            "log-likelihood": f"{last.get('log_likelihood', float('nan')):.8g}",
            "energy": f"{last.get('energy_per_atom', float('nan')):.4f} eV per atom",
            "misfit": result.misfit_text(),
            **fitted,
            "iterations": f"{result.iterations} (ended: {result.reason})",
            "time": f"{result.wall_s:.1f} s, {result.core_s:.1f} core-seconds",
            "memory": f"at most {peak_mib:.0f} MiB per rank",
            "written": "  ".join(str(p) for p in outputs if p.exists()),
        }
    )
