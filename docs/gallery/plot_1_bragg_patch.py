"""
Simulate and look at a Bragg patch
==================================

A crystal of 600 atoms is made, and photons are counted on a grid around each of three Bragg peaks.
The peak itself is a small part of a patch. The counts between the peaks say which atoms exist.
"""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import LogNorm

import prammol

truth = prammol.make_crystal("bulk", atoms=600, seed=5)
data = prammol.simulate(truth, flux=1e20, seed=1, patches=prammol.paper_patches(points=50))

# %%
# A patch knows the scattering vector of each of its points, in 1/Å with the factor 2 pi. Dividing
# by 2 pi / a gives reciprocal lattice units (r.l.u.), in which the peaks have whole numbers.
#
# On the left is the plane of the patch around (-1, 1, 1) that is nearest to l = 1. On the right is
# the row of points along h through the peak. Points without a photon are white.

patch, counts = data.patches[0], data.counts[0]
hkl = patch.q().reshape(*patch.shape, 3) / (2 * np.pi / truth.info["lattice_constant"])
h, k, height = hkl[:, 0, 0, 0], hkl[0, :, 0, 1], hkl[0, 0, :, 2]
peak = np.abs(k - 1).argmin()
plane = np.abs(height - 1).argmin()

figure, (image, row) = plt.subplots(
    1, 2, figsize=(9.6, 4), width_ratios=[1.25, 1], layout="constrained"
)
figure.get_layout_engine().set(wspace=0.08)
shown = np.ma.masked_equal(counts[:, :, plane].T, 0)
mesh = image.pcolormesh(h, k, shown, norm=LogNorm(1, counts.max()), cmap="viridis")
image.set(
    xlabel="h (r.l.u.)", ylabel="k (r.l.u.)", aspect="equal", title=f"l = {height[plane]:.2f}"
)
figure.colorbar(mesh, ax=image, label="photons per point")

along = np.ma.masked_equal(counts[:, peak, plane], 0)
row.semilogy(h, along, marker="o", ms=3, lw=1, color="#0072B2")
row.set(
    xlabel="h (r.l.u.)",
    ylabel="photons per point",
    title=f"k = {k[peak]:.2f}, l = {height[plane]:.2f}",
)
plt.show()

# %%
# Most photons fall near the peak. More than nine points in ten lie farther from it than 0.3 r.l.u.

distance = np.linalg.norm(hkl - [-1, 1, 1], axis=-1)
far = distance > 0.3
print(f"photons in the patch: {counts.sum():.3g}")
print(f"farther than 0.3 r.l.u. from the peak: {far.mean():.0%} of the points,", end=" ")
print(f"{counts[far].sum() / counts.sum():.2%} of the photons")
