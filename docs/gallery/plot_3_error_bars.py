"""
Error bars
==========

Preset ``default`` writes two standard deviations and a probability beside each atom. The
two say how much the photons determine, and how much the potential adds.
"""

import matplotlib.pyplot as plt
import numpy as np

import prammol

truth = prammol.make_crystal("bulk", atoms=600, seed=5)
data = prammol.simulate(truth, flux=1e18, seed=1, patches=prammol.paper_patches(points=40))
support = prammol.support_from_truth(truth, resolution=5.0)
result = prammol.reconstruct(data, support, seed=1)

# %%
# - ``position_sigma`` along x, y and z is the standard deviation given the counts **and** the
#   potential, on the condition that the potential is right.
# - ``position_sigma_data`` is that given the counts alone, if all other atoms were known.
# - ``occupancy_confidence`` is the probability that the atom exists.

with_potential = 100 * result.atoms.columns["position_sigma"]  # Å to pm
photons_alone = 100 * result.atoms.columns["position_sigma_data"]
exists = result.atoms.columns["occupancy_confidence"]
print(f"photons alone:      {np.median(photons_alone):.2f} pm")
print(f"with the potential: {np.median(with_potential):.3f} pm")
print(f"least probability of an atom: {exists.min():.4f}")

# %%
# On the left, errors along the three axes and the standard deviations that were predicted for them.
# The lines are one and two standard deviations. The potential leaves only the orientation of the
# whole crystal open. All atoms turn together by the same three angles, so atoms farther from the
# centre have larger bars, and the errors are not independent of each other.
#
# On the right, the two kinds of bars, on a logarithmic axis.

metrics = prammol.evaluate(result.atoms, truth, with_resolution=False)
found = metrics.found_index
errors = 100 * (metrics.positions[found] - truth.positions[metrics.truth_index])
sigma = with_potential[found]

figure, (scatter, bars) = plt.subplots(1, 2, figsize=(9.6, 4), layout="constrained")
for axis, colour in enumerate(("#0072B2", "#D55E00", "#009E73")):
    scatter.scatter(sigma[:, axis], errors[:, axis], s=5, color=colour, label="xyz"[axis])
end = np.array([0, sigma.max()])
for width, style in ((1, "-"), (2, "--")):
    for sign in (-1, 1):
        label = f"{width} standard deviation{'s' * (width > 1)}" if sign > 0 else None
        scatter.plot(end, sign * width * end, style, color="black", lw=1, label=label)
scatter.set(xlabel="predicted standard deviation (pm)", ylabel="error along one axis (pm)")
scatter.set_ylim(-4 * end[1], 4 * end[1])
scatter.locator_params(nbins=5)
scatter.legend(frameon=False, fontsize="small", loc="upper left")

bins = np.geomspace(1e-3, 10, 60)
bars.hist(with_potential.ravel(), bins, color="#0072B2", label="counts and potential")
bars.hist(np.repeat(photons_alone, 3), bins, color="#D55E00", label="counts alone")
bars.set(xscale="log", xlabel="standard deviation along one axis (pm)")
bars.set_ylabel("coordinates")
bars.legend(frameon=False)
plt.show()
