"""Ordered compounds with and without antisites: every atom, and every element?

    python benchmarks/compounds.py -o docs/results/compounds.csv

This makes docs/results/compounds.csv; no picture. The program makes the crystals, their support is
the truth's at 5 Å. Rows are added to a table that is there.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from provenance import add_row, provenance
from reconstructed import reconstructed

import prammol
from prammol.potentials.choose import choose_potential
from prammol.simulation.averages import innermost_patches
from prammol.simulation.samples import make_crystal

COLUMNS = ("formula", "structure", "antisites", "flux", "seed", "points", "atoms", "n_missing")
COLUMNS += ("n_extra", "n_wrong_element", "mae_pm", "excess", "iterations", "converged", "reason")
COLUMNS += ("core_s",)
# Formula, potential, atoms, points along an edge, part of each element put in the other's place.
CRYSTALS = {
    "CoAl": ("CoAl", "CoAl.eam.alloy", 400, 28, 0.0),
    "NiAl": ("NiAl", "NiAlH_jea.eam.alloy", 800, 36, 0.0),
    "Ni3Al": ("Ni3Al", "NiAlH_jea.eam.alloy", 300, 24, 0.0),
    "SiC": ("SiC", "SiC.tersoff", 216, 28, 0.0),
    "antisites": ("Ni3Al", "NiAlH_jea.eam.alloy", 300, 24, 0.01),
    "NaCl": ("NaCl", "ffield.eim", 300, 24, 0.0),
}
GRAIN = 5  # seed of all crystals


def examined(name: str, flux: float, seed: int) -> dict[str, Any]:
    """Draw counts, reconstruct and return a row."""
    formula, file, number, points, part = CRYSTALS[name]
    if file == "ffield.eim":
        salt = {"pair_style": "eim", "pair_coeff": "* * Na Cl ffield.eim Na Cl"}
        potential = choose_potential(formula, **salt)
    else:
        potential = choose_potential(formula, file)
    antisites = dict.fromkeys(potential.elements, part) if part else {}
    truth = make_crystal("bulk", potential, number, GRAIN, substitute=antisites)
    edge, lattice = potential.lattice_constant, potential.lattice
    patches = innermost_patches(truth, points, edge, lattice)
    data = prammol.simulate(truth, flux, seed, patches)
    support = prammol.support_from_truth(truth)
    _, found, row = reconstructed(data, support, truth, seed, potential, {"error_bars": False})
    return {
        **row,
        "formula": formula,
        "structure": potential.structure,
        "antisites": sum(round(value * number) for value in antisites.values()),
        "flux": f"{flux:g}",
        "points": sum(p.size for p in patches),
        "n_wrong_element": found.n_wrong_element,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--crystals", nargs="+", choices=CRYSTALS, default=list(CRYSTALS))
    parser.add_argument("--flux", type=float, nargs="+", default=[1e18, 1e19, 1e20])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1], help="of counts and run [1]")
    parser.add_argument("-o", "--output", type=Path, default=Path("compounds.csv"))
    options = parser.parse_args()
    origin = provenance()
    for seed in options.seeds:
        for name in options.crystals:
            for flux in options.flux:
                row = examined(name, flux, seed)
                add_row(options.output, row, origin, COLUMNS)


if __name__ == "__main__":
    main()
