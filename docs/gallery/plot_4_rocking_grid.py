"""
Your own patches: a sheared rocking grid with a mask
====================================================

A patch need not be a cube. Any affine grid will do, the sheared one of a rocking scan too, and
nothing is interpolated. Points that the detector didn't see are masked.
"""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import LogNorm

import prammol

truth = prammol.make_crystal("bulk", atoms=600, seed=5)

# %%
# A patch is an origin, three steps, and a shape. Here the rows of an image run along one direction
# of reciprocal space, its columns along another, and the next image is displaced along a third one
# that is not at right angles to them. All in 1/Å with the factor 2 pi.

unit = 2 * np.pi / truth.info["lattice_constant"]
shape = (42, 42, 42)
spacing = 2 * 0.6 * unit / (shape[0] - 1)
step = spacing * np.array([[0.98, 0.21, 0.0], [0.0, 1.0, 0.2], [0.0, 0.0, 1.0]])
patches = []
for hkl in ((-1, 1, 1), (1, -1, 1), (1, 1, -1)):
    origin = unit * np.array(hkl) - (np.array(shape) - 1) / 2 @ step
    patches.append(prammol.BraggPatch(origin, step, shape))

# %%
# The detector adds two photons of background to each point, has a gap of two columns, and one pixel
# in a hundred is hot.

simulated = prammol.simulate(truth, flux=1e19, seed=1, patches=patches, background=2.0)
rng = np.random.default_rng(2)
counts, valid = [], []
for images in simulated.counts:
    hot = rng.random(shape[1:]) < 0.01
    gap = np.zeros(shape[1:], bool)
    gap[:, 20:22] = True
    counts.append(np.where(gap, 0, np.where(hot, 1e7, images)))
    valid.append(np.broadcast_to(~(hot | gap), shape))

data = prammol.Diffraction(
    patches, counts, valid, meta={"element": "Al"}, background=simulated.background
)

# %%
# One image as the detector gives it, and what is left of it with the mask. Hot pixels are yellow;
# masked points, and those without a photon, are white.

figure, panels = plt.subplots(
    1, 2, figsize=(9.6, 4), layout="constrained", sharex=True, sharey=True
)
middle = shape[0] // 2
kept = np.where(valid[0][middle], counts[0][middle], np.nan)
for panel, image, title in zip(
    panels, (counts[0][middle], kept), ("as counted", "with the mask"), strict=True
):
    colours = panel.imshow(
        np.ma.masked_invalid(image),
        norm=LogNorm(1, simulated.counts[0].max()),
        cmap="viridis",
        origin="lower",
    )
    panel.set(title=f"image {middle} of {shape[0]}, {title}", xlabel="column (pixel)")
panels[0].set_ylabel("row (pixel)")
figure.colorbar(colours, ax=panels, label="photons per pixel", extend="max")
plt.show()

# %%
# The reconstruction takes these data like any others.

support = prammol.support_from_truth(truth, resolution=5.0)
result = prammol.reconstruct(data, support, seed=1)
metrics = prammol.evaluate(result.atoms, truth, with_resolution=False)
print(f"{len(result.atoms)} atoms, converged: {result.converged}")
print(f"missing {metrics.n_missing}, extra {metrics.n_extra}", end=", ")
print(f"largest error {metrics.max_error_pm:.3f} pm")
