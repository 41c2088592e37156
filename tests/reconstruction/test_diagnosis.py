"""The effect that the counts have alone is the one that is named first."""

from __future__ import annotations

import math
from dataclasses import replace

import effects
import numpy as np
import pytest
from small_crystal import box, make_problem

from prammol.diffraction.dataset import Diffraction
from prammol.likelihood.quasi_likelihood import PoissonMisfit
from prammol.reconstruction.diagnosis import diagnose
from prammol.reconstruction.model import Model
from prammol.reconstruction.refinement.rotation_strain import align_strained


def causes(data: Diffraction, x=None, align: bool = True, **changed):
    """Return the diagnosis of atoms that were turned and strained as the counts want."""
    x = effects.atoms() if x is None else x
    problem = replace(make_problem(data, x=x, cluster=True), **changed)
    misfit = PoissonMisfit(problem.shard, problem.factor)
    y = align_strained(misfit, x, x)[0] if align else x
    try:
        return diagnose(problem, Model(y, misfit.scale(problem.factor.forward(y))))
    finally:
        problem.cluster.close()


@pytest.mark.parametrize(
    ("lam", "effect", "where", "least"),
    [
        (effects.scale, "scale", "patch 2", 0.95),
        (effects.offset, "offset", "patch 2", 0.8),
        (effects.rotation, "rotation", "patch 3", 0.9),
        (effects.blur, "blur", "", 0.9),
        (effects.thermal, "thermal motion", "", 0.6),
        (effects.diffuse, "diffuse scattering", "", 0.95),
        (effects.form, "form factor", "", 0.6),
    ],
)
def test_an_effect_is_named_first(lam, effect, where, least):
    first = causes(effects.measured(lam()))[0]
    assert (first.effect, first.where) == (effect, where)
    assert least < first.explains < 1.1
    assert first.gain > 100
    assert f"would explain {100 * min(first.explains, 1):.0f} % of it" in first.text()


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("name", ["offset", "blur"])
def test_whatever_the_noise(name, seed):
    first = causes(effects.measured(getattr(effects, name)(), seed))[0]
    assert first.effect == name


def test_a_faint_background_is_found_though_the_misfit_hides_it():
    first = causes(effects.measured(effects.background()))[0]
    assert (first.effect, first.where) == ("background", "patch 2")


def test_strain_is_named_where_the_object_has_not_taken_it():
    first = causes(effects.measured(effects.strain()), align=False)[0]
    assert first.effect == "even strain"
    assert first.where == ""


def test_points_at_the_limit_of_the_detector():
    first = causes(effects.saturated())[0]
    assert first.effect == "saturation"
    assert first.explains > 0.95
    assert first.where.endswith(" points")


def test_hot_points():
    data = effects.zingers()
    first = causes(data)[0]
    assert first.effect == "hot points"
    assert first.explains > 0.95


def test_a_missing_atom():
    x = effects.atoms()
    k = int(np.argmin(np.linalg.norm(x, axis=1)))
    first = causes(effects.measured(effects.ideal()), np.delete(x, k, axis=0), align=False)[0]
    assert first.effect == "addition"
    where = np.array([float(v) for v in first.where.removesuffix(" Å").split(",")])
    assert np.linalg.norm(where - x[k]) < 0.3


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_nothing_is_named_for_a_right_model(seed):
    assert causes(effects.measured(effects.ideal(), seed)) == ()


def test_an_inverted_mask_is_told_from_the_photons_in_it():
    data = effects.measured(effects.ideal())
    valid = [c < 0.001 * c.max() for c in data.counts]
    few = [v & (np.arange(v.size).reshape(v.shape) % 3 == 0) for v in valid]
    data = Diffraction(data.patches, data.counts, few, data.meta, geometry=data.geometry)
    first = causes(data)[0]
    assert first.effect == "inverted mask"
    assert math.isnan(first.gain)
    assert first.text() == first.name


def test_an_inverted_support_is_told_from_the_atoms_outside():
    support = box(40.0)
    inside = ~support.contains(support.centres()).reshape(support.inside.shape)
    inside[:2] = True
    turned = replace_inside(support, inside)
    first = causes(effects.measured(effects.ideal()), support=turned)[0]
    assert first.effect == "inverted support"


def replace_inside(support, inside):
    return type(support)(support.origin, support.voxel, inside)
