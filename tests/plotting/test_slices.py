"""Which layers are drawn, and what they say of themselves."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.figure import Figure
from scipy.spatial.transform import Rotation
from small_crystal import fcc_ball

from prammol.plotting.quantities import error_norm, quantities
from prammol.plotting.slices import cuts_through, draw_layer, slice_centre
from prammol.structure import LATTICES, Atoms, crystal_fields

A = 4.05
ASKEW = Rotation.from_rotvec([0.3, 0.2, -0.4]).as_matrix()
X = fcc_ball(13.0)


def test_cuts_go_through_a_vacancy_and_say_where():
    hole = X[np.linalg.norm(X - [3, 3, 1], axis=1).argmin()]
    left = X[np.linalg.norm(X - hole, axis=1) > 0.1] @ ASKEW.T
    middle = left.mean(axis=0)
    for cut in cuts_through(left):
        assert cut.holds((hole @ ASKEW.T)[None]).all()
        height = (hole @ ASKEW.T - middle) @ cut.axes[2]
        assert cut.title.endswith(f"{height:+.1f} Å".replace("-", "\N{MINUS SIGN}"))
    assert [cut.title[:11] for cut in cuts_through(left)] == [
        "(001) layer", "(100) layer", "(010) layer"
    ]  # fmt: skip
    assert cuts_through(left)[0].labels == ("along [100] (Å)", "along [010] (Å)")


def test_cuts_go_through_what_is_wrong():
    y = X @ ASKEW.T
    wrong = y[np.abs(X[:, 0] - X[:, 0].max()) < 0.1]
    (cut,) = cuts_through(y, [(1, 0, 0)], wrong)
    assert cut.holds(wrong).all()
    assert cut.holds(y).sum() == len(wrong)


def test_what_has_no_lattice_is_cut_into_slabs():
    x = np.random.default_rng(0).uniform(-9, 9, (150, 3))
    cuts = cuts_through(x)
    assert [cut.labels for cut in cuts] == [
        ("x (Å)", "y (Å)"), ("y (Å)", "z (Å)"), ("z (Å)", "x (Å)")
    ]  # fmt: skip
    assert all("Å across" in cut.title for cut in cuts)
    assert np.abs((x[cuts[0].holds(x)] - cuts[0].place)[:, 2]).max() <= cuts[0].size / 2


def test_discs_of_a_layer_never_overlap():
    y = X @ ASKEW.T
    for cut in cuts_through(y, [(0, 0, 1), (1, 1, 1), (1, 1, 0)]):
        discs = draw_layer(Figure().subplots(), cut, y)
        places = np.asarray(discs.get_offsets())
        apart = np.linalg.norm(places[:, None] - places, axis=2)[np.triu_indices(len(places), 1)]
        assert apart.min() > discs.get_widths().max()


def test_slices_go_through_the_vacancy_or_an_atom():
    x = fcc_ball(19.0)
    centre = slice_centre(x, A / np.sqrt(2))
    assert np.linalg.norm(x - centre, axis=1).min() < 1e-9
    assert np.linalg.norm(centre - x.mean(axis=0)) < A / 2
    hole = x[np.linalg.norm(x - [4, 2, 2], axis=1).argmin()].copy()
    left = x[np.linalg.norm(x - hole, axis=1) > 0.1]
    np.testing.assert_allclose(slice_centre(left, A / np.sqrt(2)), hole, atol=1e-9)


def test_quantities_have_units_and_known_values():
    strained = X * [1.01, 1.0, 1.0]
    fields, _ = crystal_fields(strained, LATTICES["fcc"])
    known = quantities(Atoms(strained, "Al", {"energy": X[:, 0], **fields}))
    assert [*known][:4] == ["displacement", "strain", "shear", "coordination"]
    assert all(q.label.endswith(")") for n, q in known.items() if n != "coordination")
    # one per cent along x: e = (1, 0, 0) % less a third of it each; sqrt(1 / 3) % of shear
    np.testing.assert_allclose(np.nanmedian(known["shear"].values), 100 * 0.01 / 3**0.5, rtol=0.03)
    assert np.abs(np.nanmedian(known["strain"].values)) < 0.02
    assert known["strain"].norm.vmin == -known["strain"].norm.vmax
    assert quantities(Atoms(X, "Al")) == {}


@pytest.mark.parametrize("errors", [[1e-5, 3e-5], [0.0], [0.02, 0.03]])
def test_colours_dont_make_much_of_errors_that_are_nothing(errors):
    norm = error_norm(np.array(errors))
    assert norm.vmax >= 0.1


def test_errors_of_decades_have_a_logarithmic_scale():
    norm = error_norm(np.geomspace(1e-6, 50, 400))
    assert norm.vmin >= 0.01
    assert norm(5.0) - norm(0.5) == pytest.approx(norm(0.5) - norm(0.05))
