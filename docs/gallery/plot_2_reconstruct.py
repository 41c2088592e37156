"""
Reconstruct and compare with the truth
======================================

From the counts and a coarse support to the atoms, and a comparison with the crystal that scattered
them.
"""

import matplotlib.pyplot as plt
import numpy as np

import prammol

truth = prammol.make_crystal("bulk", atoms=600, seed=5)
data = prammol.simulate(truth, flux=1e18, seed=1, patches=prammol.paper_patches(points=40))
support = prammol.support_from_truth(truth, resolution=5.0)
result = prammol.reconstruct(data, support, seed=1)
print(f"{len(result.atoms)} atoms, converged: {result.converged}")

# %%
# Intensities don't change when the crystal is moved as a whole or inverted. ``evaluate`` undoes
# both and then pairs the atoms.

metrics = prammol.evaluate(result.atoms, truth, with_resolution=False)
print(f"missing {metrics.n_missing}, extra {metrics.n_extra}")
print(f"mean error {metrics.mae_pm:.3f} pm, largest {metrics.max_error_pm:.3f} pm")

# %%
# On the left is one layer of atoms: true ones as circles, found ones as dots, and the support. On
# the right are the errors of all atoms.
#
# The truth is a minimum of the energy of the potential that the reconstruction uses. Once the set
# of atoms is right, that minimum gives the positions. So these errors say nothing about the
# accuracy that measured data would allow.

spacing = truth.info["lattice_constant"] / 2
centre = truth.positions[np.linalg.norm(truth.positions, axis=1).argmin()]


def layer(positions):
    """Return the atoms of the (001) layer through the middle."""
    return positions[np.abs(positions[:, 2] - centre[2]) < spacing / 2]


figure, (slice_, histogram) = plt.subplots(1, 2, figsize=(9.6, 4.4), layout="constrained")
side = np.linspace(-20, 20, 400)
x, y = np.meshgrid(side, side)
points = np.column_stack([x.ravel(), y.ravel(), np.full(x.size, centre[2])])
inside = support.contains(points).reshape(x.shape)
slice_.contourf(x, y, inside, levels=[0.5, 1.5], colors="#E4E6EA")
slice_.scatter(*layer(truth.positions)[:, :2].T, s=90, fc="none", ec="black", label="true")
slice_.scatter(*layer(metrics.positions)[:, :2].T, s=22, color="#0072B2", label="found")
slice_.fill_between([], [], color="#E4E6EA", label="support")
slice_.set(xlabel="x (Å)", ylabel="y (Å)", aspect="equal", xlim=(-20, 20), ylim=(-20, 20))
slice_.set_title(f"layer at $z = {centre[2]:.2f}$ Å")
slice_.legend(loc="lower right", frameon=False)

histogram.hist(metrics.errors_pm, bins=30, color="#0072B2")
histogram.set(xlabel="distance from the true atom (pm)", ylabel="atoms")
plt.show()

# %%
# The history has one record per iteration. *Excess* is the misfit above what Poisson noise alone
# gives, in standard deviations: below five, the atoms explain the counts.

for record in result.history:
    print(f"iteration {record['iteration']}: {record['atoms']} atoms,", end=" ")
    print(f"excess {record['excess']:.1f}")
