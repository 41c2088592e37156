"""One picture of a plan: wrong atoms and errors by flux, and what the patches cover."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np

from prammol.evaluation.plan import Plan
from prammol.io.atomic_write import PathLike
from prammol.plotting.style import (
    BLUE,
    DASHED,
    GREEN,
    GRID,
    LIMIT,
    ORANGE,
    PAGE,
    RED,
    STYLE,
    letter_panels,
    miller,
    new_figure,
    require_format,
    save,
)

_NEVER = 1e-3  # chosen: display; fewer wrong atoms than this are drawn there
_HEIGHT = 2.6  # chosen: display


def plot_plan(found: Plan, path: PathLike, force: bool = False) -> None:
    """Draw expected wrong atoms and mean error by flux, and the extent of each patch.

    Parameters
    ----------
    found : Plan
    path : path
        Picture to write: .png, .pdf or .svg.
    force : bool
        Replace a file that exists.

    Raises
    ------
    InputError
        If the name doesn't end with a format, or the file exists.
    """
    require_format(path)
    with mpl.rc_context(STYLE):
        figure = new_figure(PAGE, _HEIGHT)
        wrong, error, extent = figure.subplots(1, 3)
        flux = np.array([c["flux"] for c in found.curve])
        number = np.maximum([c["wrong_atoms"] for c in found.curve], _NEVER)
        wrong.loglog(flux, number, "o-", ms=3, color=RED)
        wrong.set_ylabel("expected wrong atoms")
        error.loglog(flux, [c["position_pm"] for c in found.curve], "o-", ms=3, color=BLUE)
        error.set_ylabel("mean error (pm)")
        for axes in (wrong, error):
            axes.set_xlabel("photons/µm² in an image")
            axes.axvline(found.flux, color=LIMIT, label="planned", **DASHED)
            if found.resolving_flux is not None and found.resolving_flux < flux[-1]:
                resolving = found.resolving_flux
                axes.axvline(resolving, color=GREEN, label="resolves single atoms", **DASHED)
            axes.grid(**GRID)
        wrong.set_title(f"{found.atoms:.4g} {found.element} atoms", loc="left")
        error.set_title(found.prospects.verdict, loc="left")
        wrong.legend(loc="lower center", bbox_to_anchor=(0.5, 1.1), ncols=2)
        names = [
            miller([int(i) for i in p.hkl]) if all(i == int(i) for i in p.hkl) else f"{k + 1}"
            for k, p in enumerate(found.patches)
        ]
        place = np.arange(len(names))
        colours = {"rocking": ORANGE, "rows": BLUE, "columns": LIMIT}
        for k, (label, colour) in enumerate(colours.items()):
            high = [p.half_width[k] for p in found.patches]
            extent.bar(place + 0.25 * (k - 1), high, 0.22, label=label, color=colour)
        extent.set_xticks(place, names)
        extent.set_ylabel("half-width (r.l.u.)")
        extent.set_title(f"limit: {found.prospects.limit}", loc="left")
        extent.legend(loc="lower center", bbox_to_anchor=(0.5, 1.1), ncols=3)
        letter_panels([wrong, error, extent])
        save(figure, path, force)
