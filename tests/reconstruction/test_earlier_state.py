"""From another state of the crystal: laid on the counts, and trusted as it deserves."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.distance import pdist
from scipy.spatial.transform import Rotation
from small_crystal import fcc_ball, make_problem, relaxed_ball, simulate

from prammol.core.errors import DataError, InputError
from prammol.diffraction.support import support_from_truth
from prammol.evaluation.changes import changes_between
from prammol.evaluation.registration import register
from prammol.likelihood.quasi_likelihood import PoissonMisfit
from prammol.potentials.potential import aluminium
from prammol.reconstruction.earlier_state import EarlierState
from prammol.reconstruction.loop import reconstruct
from prammol.reconstruction.observer import Observer
from prammol.reconstruction.occupancy.candidate_sites import CandidateSites
from prammol.reconstruction.occupancy.change_rates import ChangeRates, rates_of
from prammol.reconstruction.refinement.lay_earlier import laid_on_counts
from prammol.structure.atoms import Atoms

TURN = Rotation.from_rotvec([0.02, -0.03, 0.01]).as_matrix()


def elsewhere(x):
    """The same atoms after the crystal moved, turned by 2 degrees and expanded."""
    return 1.004 * (x @ TURN.T) + [5.0, -3.0, 1.0]


def state(x, **columns):
    """An earlier state of aluminium."""
    return EarlierState.of(Atoms(np.asarray(x), "Al", columns))


class Notes(Observer):
    """Keeps what a user is told."""

    def __init__(self):
        self.texts = []

    def noted(self, text):
        self.texts.append(text)


def test_the_prior_of_a_site_is_that_of_a_markov_chain_of_one_step():
    odds = ChangeRates(leave=0.1, come=0.02).log_odds(np.array([1.0, 0.0, 0.5]))
    assert np.allclose(odds, np.log([0.9 / 0.1, 0.02 / 0.98, 0.46 / 0.54]))


def test_rates_are_those_that_the_sets_were_drawn_with():
    rng = np.random.default_rng(1)
    presence = np.repeat([1.0, 0.0], 20_000)
    drawn = np.concatenate([rng.random(20_000) > 0.07, rng.random(20_000) < 0.02])
    found = rates_of(presence, drawn, np.arange(40_000))
    assert found.leave == pytest.approx(0.07, rel=0.1)
    assert found.come == pytest.approx(0.02, rel=0.15)


def test_log_odds_of_sites_are_what_flipping_them_costs_more():
    x = relaxed_ball()
    problem = make_problem(simulate(x), x=x)
    vacant = problem.potential.vacant_sites(x)
    misfit = PoissonMisfit(problem.shard, problem.factor)
    sites = CandidateSites.around(misfit, problem.potential, x, vacant, 1.0)
    odds = np.random.default_rng(2).normal(size=len(sites.positions))
    before, after = sites.expand(sites.taken), sites.with_odds(odds).expand(sites.taken)
    assert np.allclose(after.slope - before.slope, -odds[before.free])
    assert abs(after.curvature - before.curvature).max() == 0


def test_a_crystal_that_moved_turned_and_expanded_is_laid_on_the_counts():
    x = relaxed_ball()
    problem = make_problem(simulate(x), x=x)
    laid = laid_on_counts(replace(problem, earlier=state(elsewhere(x))))
    assert np.abs(pdist(laid) - pdist(x)).max() < 0.01
    shift = laid - x
    assert np.abs(shift - shift.mean(axis=0)).max() < 0.01  # turned back, too


def test_another_lattice_is_said_to_be_too_far_off():
    x = relaxed_ball()
    problem = make_problem(simulate(x), x=x)
    with pytest.raises(DataError, match="orientation or lattice is too far off"):
        laid_on_counts(replace(problem, earlier=state(1.1 * x)))


@pytest.mark.parametrize(
    ("atoms", "words"),
    [
        (Atoms(fcc_ball(8.0), "Cu"), "made of Cu, expected Al"),
        (Atoms(fcc_ball(8.0)[:7], "Al"), "has 7 atoms, expected at least 20"),
        (Atoms(1.1 * fcc_ball(8.0), "Al"), "neighbours in the earlier state are 3.15 Å apart"),
        (Atoms(np.repeat(fcc_ball(8.0), 2, axis=0), "Al"), "are 0 Å apart"),
    ],
)
def test_a_state_of_another_crystal_is_refused(atoms, words):
    with pytest.raises(InputError, match=words):
        EarlierState.of(atoms).require_like(aluminium())


def test_doubtful_vacant_sites_are_part_of_what_is_known():
    x = fcc_ball(8.0)
    vacant = Atoms(x[:1] + [40.0, 0, 0], "Al", {"occupancy_confidence": np.array([0.3])})
    before = EarlierState.of(Atoms(x, "Al"), vacant)
    there = before.at(x + 1.0).presence(np.concatenate([x[:2], vacant.positions]) + 1.0, 2.86)
    assert np.allclose(there, [1.0, 1.0, 0.3])
    assert np.allclose(before.at(elsewhere(x)).vacant.positions, elsewhere(vacant.positions))


def test_atoms_that_left_and_came_are_found_from_a_crystal_that_moved():
    x = relaxed_ball()
    far = np.argsort(-np.linalg.norm(x, axis=1))
    before = np.delete(x, far[:3], axis=0)  # three came
    vacant = aluminium().vacant_sites(x)
    gone = vacant[np.argsort(np.linalg.norm(vacant, axis=1))[[0, 9]]]  # two left
    initial = state(elsewhere(np.concatenate([before, gone])))
    result = reconstruct(simulate(x), None, seed=1, initial=initial)
    partner = register(result.atoms.positions, x).partner
    assert len(result.atoms) == len(x)
    assert (partner >= 0).all()
    assert result.converged
    assert result.history[0]["earlier"]
    old = Atoms(initial.positions, "Al")
    found = changes_between(old, result.atoms, result.vacant, 2.86).summary()
    assert (found["n_left"], found["n_came"]) == (2, 3)
    assert found["even_strain"] == pytest.approx(1 / 1.004 - 1, abs=2e-3)


def test_without_a_support_a_state_that_does_not_suit_ends_the_run():
    x = relaxed_ball()
    half = x[x[:, 0] > 0]
    with pytest.raises(DataError, match="doesn't suit; give a state that is nearer, or a support"):
        reconstruct(simulate(x), None, seed=1, initial=state(half))


@pytest.mark.slow
def test_with_a_support_the_usual_start_takes_its_place():
    x = relaxed_ball(10.0)
    notes = Notes()
    support = support_from_truth(Atoms(x, "Al"))
    initial = state(x[x[:, 0] > 0])
    result = reconstruct(simulate(x), support, seed=1, initial=initial, observer=notes)
    assert [t for t in notes.texts if "starting from the counts instead" in t]
    assert "earlier" not in result.history[0]
    wrong = (register(result.atoms.positions, x).partner < 0).sum() + abs(
        len(result.atoms) - len(x)
    )
    assert wrong == 0 or not result.converged


def test_preset_paper_has_no_place_for_it():
    x = relaxed_ball()
    with pytest.raises(InputError, match="preset paper can't start from an earlier state"):
        reconstruct(simulate(x), None, preset="paper", initial=state(x))


@pytest.mark.slow
def test_where_single_atoms_are_hardly_seen_it_has_not_converged():
    x = relaxed_ball()
    faint = simulate(x, scale=0.012)
    result = reconstruct(faint, None, seed=1, initial=state(x))
    assert not result.converged
    assert result.reason == "the counts alone don't decide every atom"


@pytest.mark.slow
@pytest.mark.parametrize("scale", [1.9, 0.012])
def test_a_resumed_run_ends_in_the_same_bits(scale):
    x, kept = relaxed_ball(), []

    class Keep(Observer):
        def iterated(self, state, history):
            kept.append((state, list(history)))

    initial = state(elsewhere(np.delete(x, [3, 40, 90], axis=0)))
    data = simulate(x, scale=scale)
    whole = reconstruct(data, None, seed=1, initial=initial, observer=Keep())
    resumed = reconstruct(data, None, seed=1, initial=initial, resume=kept[0])
    assert np.array_equal(whole.atoms.positions, resumed.atoms.positions)
    assert whole.reason == resumed.reason
