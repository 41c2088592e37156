"""
Plan an experiment
==================

What must a beamline do so that every atom of a small crystal is found? A plan says it without a
reconstruction; here it is put to the test on simulated counts.
"""

import numpy as np

import prammol

truth = prammol.make_crystal("bulk", atoms=600, seed=5)
potential = prammol.aluminium()

# %%
# A beamline of the future: a focus of 1e15 photons/s/µm², and a detector so near that its patches
# reach 0.6 reciprocal lattice units from the peaks. ``prammol.read_beamline("my.yaml")`` reads the
# same from a file, and ``"ID01-EBS"`` stands for one of today.

beamline = prammol.Beamline(
    name="tomorrow",
    energy=10.0,  # keV
    flux_density=1e15,  # photons/s/µm²
    distance=0.1,  # m
    pixel=750.0,  # µm
    pixels=48,
    rocking_step=0.81,  # degrees
    images=48,
    exposure=0.1,  # s
)
today = prammol.plan(potential, prammol.read_beamline("ID01-EBS"), diameter_nm=30.0)
print(f"ID01-EBS, 30 nm: {today.prospects.verdict}, limit {today.prospects.limit}")
plan = prammol.plan(potential, beamline, atoms=len(truth))
print(f"tomorrow: {plan.prospects.verdict}, limit {plan.prospects.limit}")
print(
    f"single atoms from {plan.resolving_flux:.2g} photons/µm² in an image, planned {plan.flux:.2g}"
)

# %%
# The exposure is what limits. A hundred times as much suffices:

longer = prammol.Beamline(**{**vars(beamline), "exposure": 10.0})
plan = prammol.plan(potential, longer, atoms=len(truth))
expected = plan.prospects
print(f"{expected.verdict}, {expected.wrong_atoms:.1g} wrong atoms, {expected.position_pm:.2g} pm")
print(f"{plan.dose_gray:.1e} Gy in {plan.time_s / 60:.0f} minutes")

# %%
# Counts on these patches, and what is found in them:

unit = 2 * np.pi / potential.lattice_constant
patches = [longer.patch(unit * np.array(p.hkl)) for p in plan.patches]
data = prammol.simulate(truth, plan.flux, seed=1, patches=patches, wavelength=longer.wavelength)
planned = sum(p.photons for p in plan.patches)
print(f"{data.total_counts:.3g} photons, {planned:.3g} planned")
result = prammol.reconstruct(data, prammol.support_from_truth(truth), seed=1)
metrics = prammol.evaluate(result.atoms, truth, with_resolution=False)
print(f"{metrics.n_missing} missing, {metrics.n_extra} extra, {metrics.mae_pm:.2g} pm")

# %%
# The command ``prammol plan`` prints the same numbers, and draws them by flux with ``-o plan.png``.
