"""Numbers that can't be right: an error or a warning, never a silent wrong answer."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace

import h5py
import numpy as np
import pytest
from small_crystal import fcc_ball, simulate
from states import altered

from prammol.cli.commands.reconstruct import NOT_CONVERGED
from prammol.core.errors import DataError, SimulationError
from prammol.diffraction.support import support_from_truth
from prammol.reconstruction.loop import reconstruct
from prammol.reconstruction.observer import Observer
from prammol.reconstruction.preset import Preset
from prammol.structure.atoms import Atoms


@pytest.fixture
def ball_counts():
    return simulate(fcc_ball(6.0), points=8)


def changed(ball_counts, patch, change):
    """The same with other counts in one patch."""
    counts = [change(c) if k == patch else c for k, c in enumerate(ball_counts.counts)]
    return replace(ball_counts, counts=counts, source="d.h5")


def test_counts_that_are_not_whole_are_warned_of(prammol, small, tmp_path):
    shutil.copy(small / "d.h5", tmp_path / "half.h5")
    with h5py.File(tmp_path / "half.h5", "r+") as file:
        counts = file["entry_2/image_1/data"][...] + 0.5
        del file["entry_2/image_1/data"]
        file["entry_2/image_1/data"] = counts
    done = prammol(
        "reconstruct", "half.h5", "--support", small / "u.h5", "-o", "r.h5",
        "--preset", "paper", "--set", "max_iterations=1",
    )  # fmt: skip
    assert done.returncode == NOT_CONVERGED, done.stderr
    assert "warning: half.h5: counts of patch 2 aren't whole numbers" in done.stderr


@dataclass(frozen=True)
class Found:
    """A stage that knows the answer, and says it is converged."""

    radius: float = 6.0
    scale: float = 1.9
    excess: float = 0.0

    def __call__(self, problem, state):
        x = fcc_ball(self.radius)
        return altered(state, positions=x, scale=self.scale, excess=self.excess, converged=True)


def found(ball_counts, stage, **options):
    support = support_from_truth(Atoms(fcc_ball(6.0), "Al"))
    return reconstruct(ball_counts, support, preset=Preset("own", (stage,), ()), **options)


def test_less_noise_than_photons_have_is_not_converged(ball_counts):
    smooth = changed(ball_counts, 0, lambda c: c + 0.25)
    for counts, excess, converged in (
        (ball_counts, -9.0, True),
        (smooth, -9.0, False),
        (smooth, 0, True),
    ):
        result = found(counts, Found(excess=excess))
        assert result.converged is converged
        assert (result.reason == "counts aren't photons") is not converged


@pytest.mark.parametrize(
    ("stage", "error", "text"),
    [
        (Found(radius=0.0), DataError, "no atom is left after iteration 0"),
        (Found(scale=np.nan), SimulationError, "after iteration 0 the log-likelihood is nan"),
    ],
)
def test_a_run_that_ends_in_nothing_or_in_nan_is_an_error(ball_counts, stage, error, text):
    kept = []

    class Keeps(Observer):
        def iterated(self, state, history):
            kept.append(state)

    with pytest.raises(error, match=text):
        found(ball_counts, stage, observer=Keeps())
    assert not kept
