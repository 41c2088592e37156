"""Pictures: what they say, and that odd cases are drawn at all."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.image import imread

from prammol.core.errors import InputError, OutputExistsError
from prammol.plotting.reconstruction import plot_reconstruction
from prammol.reconstruction.result import Reconstruction
from prammol.structure.atoms import Atoms

A = 4.05

RNG = np.random.default_rng(0)


def ball(radius: float) -> np.ndarray:
    basis = np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
    x = (np.indices((10,) * 3).reshape(3, -1).T[:, None] - 5 + basis).reshape(-1, 3) * A
    return x[np.linalg.norm(x - [0.3, 0.2, 0.1], axis=1) < radius]


@pytest.fixture(scope="module")
def truth() -> Atoms:
    return Atoms(ball(13), "Al")


def history(n: int) -> list[dict]:
    return [
        {"iteration": i, "log_likelihood": -(10.0 ** (5 - i)), "atoms": 600 - i, "scale": 0.2}
        for i in range(n)
    ]


def drawn(path) -> bool:
    """Tell whether a PNG has something on it: several colours and no tiny size."""
    image = imread(path)
    colours = {tuple(c) for c in image[::9, ::9].reshape(-1, image.shape[2])}
    return min(image.shape[:2]) > 300 and len(colours) > 5


@pytest.mark.parametrize(("steps", "with_truth"), [(0, True), (0, False), (1, True), (60, False)])
def test_a_history_of_any_length_is_drawn(tmp_path, truth, steps, with_truth):
    columns = {"energy": RNG.normal(size=len(truth))}
    result = Reconstruction(Atoms(truth.positions + 1, "Al", columns), 0.2, history(min(steps, 6)))
    if steps > 6:
        result = Reconstruction(result.atoms, 0.2, history(6) * 10)
    plot_reconstruction(result, tmp_path / "p.png", truth if with_truth else None)
    assert drawn(tmp_path / "p.png")


def test_odd_histories_and_objects_are_drawn(tmp_path, truth):
    odd = [{"iteration": 0, "log_likelihood": float("-inf"), "atoms": 3}, {"scale": None}]
    plot_reconstruction(Reconstruction(truth, 1.0, odd), tmp_path / "a.png")
    one = Reconstruction(Atoms([[0, 0, 0.0]], "Al"), 1.0)
    plot_reconstruction(one, tmp_path / "b.png")
    far = Reconstruction(Atoms([[0, 0, 0.0], [50, 0, 0]], "Al"), 1.0)
    plot_reconstruction(far, tmp_path / "c.png", truth)
    flat = Atoms(RNG.uniform(-9, 9, (50, 3)) * [1, 1, 0], "Al", {"energy": np.zeros(50)})
    plot_reconstruction(Reconstruction(flat, 1.0), tmp_path / "d.png")
    assert all(drawn(tmp_path / f"{n}.png") for n in "abcd")


def test_wrong_outputs_are_refused(tmp_path, truth):
    result = Reconstruction(truth, 1.0)
    with pytest.raises(InputError, match=r"\.png"):
        plot_reconstruction(result, tmp_path / "p.bmp")
    with pytest.raises(InputError, match="no atoms"):
        plot_reconstruction(Reconstruction(Atoms(np.empty((0, 3)), "Al"), 1.0), tmp_path / "p.png")
    (tmp_path / "p.png").write_text("precious")
    with pytest.raises(OutputExistsError):
        plot_reconstruction(result, tmp_path / "p.png")
    assert (tmp_path / "p.png").read_text() == "precious"
