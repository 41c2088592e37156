"""Whole reconstructions by preset paper, on a crystal of 156 atoms."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from small_crystal import relaxed_ball, simulate
from states import state_of

from prammol.core.errors import DataError, InputError
from prammol.diffraction.structure_factor import direct_structure_factor
from prammol.diffraction.support import support_from_truth
from prammol.evaluation.metrics import evaluate
from prammol.reconstruction.loop import reconstruct
from prammol.reconstruction.observer import Observer
from prammol.reconstruction.presets import get_preset
from prammol.structure.atoms import Atoms

SCALE = 1.9


@pytest.fixture(scope="module")
def truth():
    return relaxed_ball(8.5)


@pytest.fixture(scope="module")
def data(truth):
    return simulate(truth, points=20, scale=SCALE)


@pytest.fixture(scope="module")
def support(truth):
    return support_from_truth(Atoms(truth, "Al"))


@pytest.fixture(scope="module")
def result(data, support):
    return reconstruct(data, support, preset="paper", seed=1, settings={"max_iterations": 10})


def test_every_atom_is_found(result, truth):
    metrics = evaluate(result.atoms, truth, with_resolution=False)
    assert (metrics.n_missing, metrics.n_extra) == (0, 0)
    assert metrics.mae_pm < 10
    assert result.scale == pytest.approx(SCALE, rel=0.01)
    assert result.history[0]["atoms"] > 1.3 * len(truth)  # the start was far from it


def test_history_tells_what_happened(result, data):
    records = result.history
    assert [r["iteration"] for r in records] == list(range(11))
    for before, after in pairwise(records):
        assert after["atoms"] == before["atoms"] + after["added"] - after["removed"]
        assert after["selected"] == (after["added"] + after["removed"] > 0)
        assert set(after["stages"]) == {
            "fit_positions",
            "generate_candidates",
            "cross_validate",
            "relax_subset",
        }
    assert records[-1]["log_likelihood"] > records[0]["log_likelihood"]
    q = np.concatenate([p.q() for p in data.patches])
    lam = np.abs(result.scale * direct_structure_factor(q, result.atoms.positions)) ** 2
    counts = np.concatenate([c.ravel() for c in data.counts])
    likelihood = np.sum(counts * np.log(lam) - lam)
    assert records[-1]["log_likelihood"] == pytest.approx(likelihood, rel=1e-9)
    assert result.atoms.columns["energy"].sum() == pytest.approx(records[-1]["energy"], rel=1e-6)
    assert (result.reason, result.converged) == ("max_iterations", False)
    assert result.iterations == 10
    assert result.wall_s > 0
    assert result.core_s > 0
    json.dumps(records)  # records are plain numbers, to be written as JSON lines


def test_resumed_run_is_the_unbroken_run(result, data, support):
    saved = []

    class KilledError(Exception):
        pass

    class Dies(Observer):
        def iterated(self, state, history):
            if state.status.iteration == 2:
                saved.append((state, [dict(r) for r in history]))
                raise KilledError

    with pytest.raises(KilledError):
        reconstruct(data, support, preset="paper", seed=1, observer=Dies())
    again = reconstruct(
        data, support, preset="paper", seed=1, settings={"max_iterations": 4}, resume=saved[0]
    )
    whole = reconstruct(data, support, preset="paper", seed=1, settings={"max_iterations": 4})
    np.testing.assert_array_equal(again.atoms.positions, whole.atoms.positions)
    assert [r["log_likelihood"] for r in again.history] == [
        r["log_likelihood"] for r in whole.history
    ]


def test_the_loop_stops_when_no_model_was_selected(data, support, truth):
    start = (state_of(truth.copy(), SCALE), [{"iteration": 0, "selected": False}])
    done = reconstruct(data, support, preset="paper", settings={"patience": 2}, resume=start)
    assert (done.reason, done.converged, done.iterations) == ("patience", True, 2)
    assert len(done.atoms) == len(truth)


def test_a_preset_and_an_observer_of_ones_own(data, support):
    seen, objects = [], []

    class Notes(Observer):
        def iterated(self, state, history):
            seen.append(history[-1])
            objects.append(state.positions)

    plan = replace(get_preset("paper").with_settings({"max_iterations": 1}), name="mine")
    result = reconstruct(data, support, preset=plan, seed=3, observer=Notes())
    assert seen == list(result.history)
    assert [len(x) for x in objects] == [r["atoms"] for r in result.history]
    np.testing.assert_array_equal(objects[-1], result.atoms.positions)
    assert (result.preset, result.seed, result.ranks) == ("mine", 3, 1)
    assert result.settings["fit_positions.fraction"] == 0.005


def test_one_peak_of_unknown_orientation_is_refused(data, support):
    alone = data.of_patches([0])
    with pytest.raises(DataError, match="independent"):
        reconstruct(alone, support, preset="paper")


def test_unknown_setting_is_refused(data, support):
    with pytest.raises(InputError, match="did you mean"):
        reconstruct(data, support, preset="paper", settings={"cross_validate.term": 2})


SCRIPT = """
import numpy as np
from prammol.core.parallel import world
from prammol.diffraction.dataset import Diffraction
from prammol.diffraction.bragg_patch import BraggPatch
from prammol.reconstruction.loop import reconstruct
from prammol.reconstruction.observer import Observer
from prammol.diffraction.support import Support

saved = np.load("data.npz")
patches = [BraggPatch(saved[f"o{k}"], saved[f"s{k}"], saved[f"c{k}"].shape) for k in range(3)]
counts = [saved[f"c{k}"] for k in range(3)]
data = Diffraction(patches, counts, meta={"form_factor": "constant"})
support = Support(saved["origin"], saved["voxel"], saved["inside"])
comm = world()
result = reconstruct(
    data, support, preset="paper", seed=1, comm=comm, settings={"max_iterations": 2}
)
assert len(set(comm.gather(result.atoms.positions.tobytes()))) == 1
if comm.is_root:
    history = [r["atoms"] for r in result.history]
    np.savez(
        "result.npz", x=result.atoms.positions, scale=result.scale, ranks=result.ranks,
        history=history,
    )
"""


@pytest.mark.mpi
@pytest.mark.parametrize("ranks", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_ranks_find_the_same_atoms(parallel, tmp_path, data, support, ranks):
    arrays = {"origin": support.origin, "voxel": support.voxel, "inside": support.inside}
    for k, (patch, counts) in enumerate(zip(data.patches, data.counts, strict=True)):
        arrays |= {f"o{k}": patch.origin, f"s{k}": patch.step, f"c{k}": counts}
    np.savez(tmp_path / "data.npz", **arrays)
    (tmp_path / "script.py").write_text(SCRIPT)
    done = parallel(ranks, "script.py")
    assert done.returncode == 0, done.stderr
    found = np.load(tmp_path / "result.npz")
    alone = reconstruct(data, support, preset="paper", seed=1, settings={"max_iterations": 2})
    assert found["ranks"] == ranks
    assert found["history"].tolist() == [r["atoms"] for r in alone.history]
    # Sums over ranks differ in the last digits, and the fit amplifies them a little.
    np.testing.assert_allclose(found["x"], alone.atoms.positions, atol=0.01)
    assert float(found["scale"]) == pytest.approx(alone.scale, rel=1e-4)
