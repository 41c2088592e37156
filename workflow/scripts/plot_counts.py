"""Figure 3: counts around the Bragg peaks, beside what a reconstruction expects of them."""

from typing import Any

import numpy as np
from figure_style import save
from table_files import logged

from prammol.io import read_diffraction, read_reconstruction
from prammol.plotting.fit import fit_figure, frame_of
from prammol.reconstruction.fit import Fit, fit_of


def rows_of(fit: Fit) -> list[dict[str, Any]]:
    """Return the points drawn."""
    names = ("qx_per_angstrom", "qy_per_angstrom", "qz_per_angstrom")
    rows = []
    for k, patch in enumerate(fit.patches):
        number = frame_of(fit, k)
        q = patch.q().reshape(*patch.shape, 3)[number].reshape(-1, 3)
        shown = (fit.counts[k], fit.expected[k], fit.residual(k))
        values = np.stack([v[number].ravel() for v in shown], axis=1)
        rows += [
            {
                "patch": k + 1,
                **dict(zip(names, place, strict=True)),
                **dict(zip(("photons", "expected", "residual_sigma"), value, strict=True)),
            }
            for place, value in zip(q.tolist(), values.tolist(), strict=True)
        ]
    return rows


if "snakemake" in globals():
    with logged(snakemake):  # noqa: F821
        result = read_reconstruction(snakemake.input.result)  # noqa: F821
        fit = fit_of(result, read_diffraction(snakemake.input.diffraction))  # noqa: F821
        save(fit_figure(fit, result.misfit_text()), rows_of(fit), snakemake.output)  # noqa: F821
