"""The supplementary film: one reconstruction converging, beside its misfit and its atoms."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
from figure_style import log_axis
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

# matplotlib needs and brings it, too; the writers of matplotlib have one speed for all pictures
from PIL import Image
from table_files import logged, write_table

from prammol.evaluation.registration import match, neighbour_distance, register
from prammol.io import read_atoms
from prammol.io.trajectory import read_trajectory
from prammol.plotting.quantities import error_norm
from prammol.plotting.slices import (
    cuts_through,
    draw_discs,
    draw_marks,
    frame_alike,
)
from prammol.plotting.style import (
    DASHED,
    EVEN,
    EXTRA,
    FOUND,
    GREY,
    GRID,
    MARKS,
    MISSING,
    PAGE,
    STYLE,
    TRUTH,
    new_figure,
    plain_ticks,
)
from prammol.structure.atoms import Atoms

MOST_PICTURES = 150
SECONDS = 12.0  # of the film, the last picture not counted
NAMES = {
    "phase_patches": "sites synthesised",
    "choose_sites": "occupancies fitted",
    "iteration": "start",
}


@dataclass(frozen=True)
class Picture:
    """One frame of the trajectory in the frame of the truth.

    ``errors`` are distances from the true partner [pm], NaN where there is none; ``step`` is
    the iteration, negative for the stages of the start.
    """

    step: int
    name: str
    positions: NDArray[np.float64]
    occupancy: NDArray[np.float64]
    errors: NDArray[np.float64]
    missing: NDArray[np.float64]
    log_likelihood: float | None

    def row(self) -> dict[str, Any]:
        """Return the numbers drawn; a site is an atom from an occupancy of one half."""
        whole = self.occupancy > 0.5
        errors = self.errors[whole]
        found = np.isfinite(errors)
        return {
            "step": self.step,
            "shows": self.name,
            "atoms": int(whole.sum()),
            "missing": len(self.missing),
            "extra": int((~found).sum()),
            "mae_pm": float(errors[found].mean()) if found.any() else None,
            "log_likelihood": self.log_likelihood,
        }


def pictures(frames: Sequence[Atoms], truth: Atoms, most: int = MOST_PICTURES) -> list[Picture]:
    """Lay the frames over the truth, all as the last one but for a drift of the whole.

    Starts that were given up are left out; of many iterations only some are taken.
    """
    frames = [f for f in frames if f.info["start"] == frames[-1].info["start"]]
    before = sum(f.info["stage"] != "iteration" for f in frames)
    size = neighbour_distance(truth.positions)
    whole = register(frames[-1].positions, truth.positions, size)
    chosen = np.unique(np.linspace(before, len(frames) - 1, most - before).round().astype(int))
    out = []
    for i in [*range(before), *chosen]:
        step = i - before if i < before else int(frames[i].info["iteration"])
        out.append(_picture(frames[i], whole.apply(frames[i].positions), truth, size, step))
    return out


def _picture(atoms: Atoms, x: NDArray[np.float64], truth: Atoms, size: float, step: int) -> Picture:
    y = truth.positions
    for _ in range(2):
        partner = match(x, y, size / 2)
        pairs = partner >= 0
        if pairs.any():
            x = x - np.median(x[pairs] - y[partner[pairs]], axis=0)
    partner = match(x, y, size / 2)
    pairs = partner >= 0
    errors = np.full(len(x), np.nan)
    errors[pairs] = 100 * np.linalg.norm(x[pairs] - y[partner[pairs]], axis=1)
    occupancy = np.asarray(atoms.columns["occupancy"], dtype=float)
    stage = str(atoms.info["stage"])
    return Picture(
        step=step,
        name=f"iteration {step}" if step > 0 else NAMES.get(stage, stage),
        positions=x,
        occupancy=occupancy,
        errors=errors,
        missing=np.delete(y, partner[pairs & (occupancy > 0.5)], axis=0),
        log_likelihood=atoms.info.get("log_likelihood"),
    )


class Screen:
    """A figure on which one picture after the other is drawn."""

    def __init__(self, film: Sequence[Picture], truth: Atoms) -> None:
        self._film, self._truth = film, truth.positions
        self._size = neighbour_distance(truth.positions)
        self._cut = cuts_through(truth.positions)[0]
        every = np.concatenate([p.errors[np.isfinite(p.errors)] for p in film])
        self._norm = error_norm(every)
        self.figure: Figure = new_figure(PAGE, 3.7)
        # Fixed places: a layout that is found anew for each picture would jump.
        self.figure.set_layout_engine("none")
        self._slice = self.figure.add_axes((0.165, 0.13, 0.395, 0.758))
        lowest = self.figure.add_axes((0.715, 0.13, 0.275, 0.2))
        above = [
            self.figure.add_axes((0.715, y, 0.275, 0.2), sharex=lowest) for y in (0.688, 0.409)
        ]
        self._panels = [*above, lowest]
        self._now = self._draw_curves([p.row() for p in film])
        bar = self.figure.colorbar(
            self._draw_slice(film[-1]),
            cax=self.figure.add_axes((0.075, 0.13, 0.014, 0.758)),
            label="distance from the true atom (pm)",
            extend="both",
        )
        bar.ax.yaxis.set_label_position("left")
        bar.ax.yaxis.tick_left()
        plain_ticks(bar.ax.yaxis, self._norm)

    def show(self, number: int) -> Image.Image:
        """Return a picture as an image."""
        self._draw_slice(self._film[number])
        for marks in self._now:
            for k, mark in enumerate(marks):
                mark.set_visible(k == number)
        self.figure.canvas.draw()
        pixels = np.asarray(self.figure.canvas.buffer_rgba())[..., :3]
        return Image.fromarray(np.ascontiguousarray(pixels))

    def _draw_slice(self, picture: Picture) -> Any:
        axes, cut = self._slice, self._cut
        axes.clear()
        shown = cut.holds(picture.positions) & np.isfinite(picture.errors)
        discs = draw_discs(
            axes,
            cut.flat(picture.positions[shown]),
            self._size * np.sqrt(picture.occupancy[shown]),
            array=picture.errors[shown],
            norm=self._norm,
            cmap=EVEN,
        )
        wrong = ~np.isfinite(picture.errors) & (picture.occupancy > 0.5)
        draw_marks(axes, cut, picture.missing, "missing")
        draw_marks(axes, cut, picture.positions[wrong], "extra")
        frame_alike([[axes]], [cut], self._truth)
        axes.set_title(picture.name, loc="left")
        axes.annotate(cut.title, (0.01, 0.01), xycoords="axes fraction", fontsize=7)
        axes.legend(
            handles=[Line2D([], [], ls="none", label=k, **look) for k, look in MARKS.items()],
            loc="lower right",
            bbox_to_anchor=(1.01, 0.99),
            ncols=2,
            borderaxespad=0,
            handletextpad=0.1,
            columnspacing=0.8,
        )
        return discs

    def _draw_curves(self, rows: Sequence[dict[str, Any]]) -> list[list[Any]]:
        """Draw what is plotted against the iteration; return the marks of every picture."""
        step = [r["step"] for r in rows]
        known = [r["log_likelihood"] for r in rows if r["log_likelihood"] is not None]
        below = [
            max(known) - r["log_likelihood"] if r["log_likelihood"] is not None else np.nan
            for r in rows
        ]
        below = np.where(np.array(below) > 0, below, np.nan)
        misfit, number, wrong = self._panels
        marks = [_curve(misfit, step, below, FOUND)]
        marks += [_curve(number, step, [r["atoms"] for r in rows], FOUND)]
        marks += [_curve(wrong, step, [r["missing"] for r in rows], MISSING, "missing")]
        marks += [_curve(wrong, step, [r["extra"] for r in rows], EXTRA, "extra")]
        log_axis(misfit, below)
        misfit.set_ylabel("log-likelihood\nbelow its best")
        number.axhline(len(self._truth), color=TRUTH, **DASHED)
        number.set_ylabel("atoms\n(dashed: true)")
        number.yaxis.set_major_locator(MaxNLocator(3, integer=True))
        wrong.set_yscale("symlog", linthresh=1, linscale=0.5)
        wrong.set_ylim(-0.4, 2 * max(5, *(r["missing"] for r in rows), *(r["extra"] for r in rows)))
        wrong.set(ylabel="wrong atoms", xlabel="iteration")
        wrong.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        wrong.legend(
            loc="lower right",
            bbox_to_anchor=(1.01, 0.97),
            ncols=2,
            borderaxespad=0,
            handlelength=1.2,
        )
        for axes in self._panels:
            axes.margins(x=0.04, y=0.15)
            axes.grid(axis="y", **GRID)
            axes.tick_params(labelbottom=axes is wrong)
            if step[0] < 0:
                axes.axvspan(min(step) - 0.5, -0.5, color="#F0F1F4", lw=0, zorder=0)
        if step[0] < 0:
            wrong.xaxis.set_major_formatter(lambda v, _: f"{v:.0f}" if v >= 0 else "")
            misfit.annotate(
                "start",
                (-0.6, 0.95),
                xycoords=("data", "axes fraction"),
                ha="right",
                va="top",
                fontsize=7,
                color=GREY,
            )
        for axes in self._panels:
            axes.yaxis.set_label_coords(-0.25, 0.5)
        return marks


def _curve(axes: Any, x: Any, y: Any, colour: str, label: str = "") -> list[Any]:
    """Draw a curve and return a mark for each of its points."""
    axes.plot(x, y, color=colour, lw=1, marker="o" if len(x) < 40 else "", ms=2, label=label)
    return [
        axes.plot(a, b, "o", ms=5, color=colour, mec="white")[0] for a, b in zip(x, y, strict=True)
    ]


def write_film(paths: Sequence[str], film: Sequence[Picture], truth: Atoms) -> None:
    """Write animations of the format of each name, .gif or .png: every browser shows both."""
    with mpl.rc_context(STYLE):
        screen = Screen(film, truth)
        screen.figure.set_dpi(130)
        images = [screen.show(i) for i in range(len(film))]
    # One palette: a PNG has no other for a later picture. Legend and colour bar have all colours.
    palette = images[-1].quantize(255, method=Image.Quantize.MAXCOVERAGE)
    images = [i.quantize(palette=palette, dither=Image.Dither.NONE) for i in images]
    each = int(1000 * np.clip(SECONDS / len(film), 0.06, 1.0))
    for path in paths:
        images[0].save(
            path,
            save_all=True,
            append_images=images[1:],
            loop=0,
            duration=[each] * (len(images) - 1) + [3000],
        )


if "snakemake" in globals():
    with logged(snakemake):  # noqa: F821
        truth = read_atoms(snakemake.input.crystal)  # noqa: F821
        film = pictures(read_trajectory(snakemake.input.trajectory), truth)  # noqa: F821
        write_film([snakemake.output.png, snakemake.output.gif], film, truth)  # noqa: F821
        write_table(snakemake.output.csv, [p.row() for p in film])  # noqa: F821
