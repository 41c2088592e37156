"""Compare a reconstruction with the true crystal.

Intensities don't change when the crystal is moved as a whole or inverted, so both are
undone first. An atom is found if a true one lies within half the nearest-neighbour
distance, one to one; errors are over the found atoms: read them together with the
missing and extra ones. The resolution is pi / q_c, where q_c is the smallest |q| at
which the mean phase error exceeds 0.5 rad. Atoms of a warm crystal that hop have a mean
position where they never are: the others are also judged by themselves, and the mean
scattering of the trajectory, which the counts are of, can be given as the truth."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prammol.cli.commands.common import written_as

if TYPE_CHECKING:
    from prammol.evaluation.metrics import Metrics
    from prammol.reconstruction.result import Reconstruction
    from prammol.structure.atoms import Atoms

EXAMPLES = """\
examples:
  prammol evaluate r.h5 --truth s.xyz --json m.json
  prammol evaluate r.h5 --truth s.xyz --atoms errors.xyz   # open in OVITO, colour by error_pm

keys of the JSON file:
  n_atoms n_true n_missing n_extra mae_pm rmse_pm max_error_pm resolution_angstrom
  scale_ratio (C / true C, null if the true one isn't known) iterations converged
  misfit_sigma (misfit beyond noise in standard deviations) cause (what would explain it)
  wall_s core_s ranks seed preset
  and, where there are several elements: n_wrong_element
  and, where the truth is the mean of a warm crystal (column mean_square_displacement):
  n_hopping n_missing_staying resolution_staying_angstrom
  and with --scattering: resolution_of_scattering_angstrom
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this verb."""
    parser.add_argument("result", metavar="RESULT", help="HDF5 file written by reconstruct")
    parser.add_argument("--truth", required=True, metavar="FILE", help="XYZ file of the crystal")
    parser.add_argument(
        "--scattering",
        metavar="FILE",
        help="mean scattering of a warm crystal, NPZ by prammol.cli.dynamics: what is found, sites "
        "occupied for a part of the time included, is also compared with it",
    )
    parser.add_argument(
        "--json", type=written_as("JSON"), metavar="FILE", help="write the numbers as JSON"
    )
    parser.add_argument(
        "--atoms",
        type=written_as("XYZ"),
        metavar="FILE",
        help="write the atoms found, in the frame of the truth, as extended XYZ with the columns "
        "error_pm and truth_index (-1 for an extra atom)",
    )
    parser.add_argument("--force", action="store_true", help="replace outputs that exist")


def run(options: argparse.Namespace) -> int:
    """Evaluate, print, write."""
    from prammol.cli.commands.common import read_crystal, require_inputs
    from prammol.evaluation.metrics import against_scattering, evaluate, of_staying
    from prammol.io import (
        read_reconstruction,
        replacing,
        require_absent,
        write_atoms,
    )
    from prammol.io.mean_scattering import read_mean_scattering

    require_inputs(options.result, options.truth, options.scattering)
    for path in filter(None, (options.json, options.atoms)):
        require_absent(path, options.force)
    result = read_reconstruction(options.result)
    truth = read_crystal(options.truth, mean=True, several=True)
    require_same_element(options.truth, truth, options.result, result.atoms)
    scattering = read_mean_scattering(options.scattering) if options.scattering else None
    metrics = evaluate(result.atoms, truth)
    values = metrics_of(result, metrics)
    staying = of_staying(metrics, truth)
    if staying is not None:
        values |= staying.summary()
    if scattering is not None:
        values["resolution_of_scattering_angstrom"] = against_scattering(
            result, metrics, scattering
        )
    if options.json:
        text = json.dumps(values, indent=2, allow_nan=False) + "\n"
        with replacing(options.json, options.force) as path:
            Path(path).write_text(text, encoding="utf-8")
    if options.atoms:
        write_atoms(options.atoms, _with_errors(result, metrics), options.force)
    _report(values)
    return 0


def require_same_element(truth: str, true: Atoms, result: str, found: Atoms) -> None:
    """Raise InputError if truth and result have no element in common."""
    from prammol.core.errors import InputError

    if not set(true.elements) & set(found.elements):
        of = [", ".join(atoms.elements) for atoms in (true, found)]
        msg = f"{truth}: the truth is made of {of[0]}, but {result} is of {of[1]}"
        raise InputError(msg)


def metrics_of(result: Reconstruction, metrics: Metrics) -> dict[str, Any]:
    """Return what ``metrics.json`` holds."""
    true_scale = true_scale_of(result)
    ratio = None if true_scale is None else float(result.scale / true_scale)
    return {**metrics.summary(), "scale_ratio": ratio, **result.summary()}


def true_scale_of(result: Reconstruction) -> float | None:
    """Return the true C if the data were simulated, as they recorded it."""
    scale = result.provenance.get("diffraction", {}).get("scale")
    return None if scale is None else float(scale)


def _with_errors(result: Reconstruction, metrics: Metrics) -> Any:
    import numpy as np

    from prammol.structure.atoms import Atoms

    errors = np.full(metrics.n_atoms, np.nan)
    partner = np.full(metrics.n_atoms, -1)
    errors[metrics.found_index] = metrics.errors_pm
    partner[metrics.found_index] = metrics.truth_index
    columns = {**result.atoms.columns, "error_pm": errors, "truth_index": partner}
    if metrics.registration.inverted and "displacement" in columns:
        columns["displacement"] = -columns["displacement"]  # strains don't change
    return Atoms(metrics.positions, result.atoms.element, columns, result.atoms.info)


def _report(values: dict[str, Any]) -> None:
    from prammol.cli.progress import print_table

    def number(name: str, unit: str) -> str:
        value = values[name]
        return "unknown" if value is None else f"{value:.4g} {unit}".rstrip()

    wrong = {}
    if "n_wrong_element" in values:
        wrong = {"wrong element": values["n_wrong_element"]}
    staying = {}
    if "n_hopping" in values:
        staying = {
            "hopping": f"{values['n_hopping']} true atoms",
            "missing, staying": values["n_missing_staying"],
            "resolution, staying": number("resolution_staying_angstrom", "Å"),
        }
    if "resolution_of_scattering_angstrom" in values:
        staying["resolution, scattering"] = number("resolution_of_scattering_angstrom", "Å")
    print_table(
        {
            "atoms": f"{values['n_atoms']} found, {values['n_true']} true",
            "missing": values["n_missing"],
            "extra": values["n_extra"],
            **wrong,
            "mean error": number("mae_pm", "pm"),
            "rms error": number("rmse_pm", "pm"),
            "largest error": number("max_error_pm", "pm"),
            "resolution": number("resolution_angstrom", "Å"),
            **staying,
            "C / true C": number("scale_ratio", ""),
            "misfit": number("misfit_sigma", "sigma beyond noise"),
            **({"cause": values["cause"]} if values["cause"] else {}),
            "iterations": values["iterations"],
            "time": f"{values['wall_s']:.1f} s, {values['core_s']:.1f} core-seconds",
        }
    )
