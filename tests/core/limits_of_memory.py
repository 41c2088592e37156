"""Print the peak of the memory of one iteration's steps [bytes]: of so many points, or of sites.

python limits_of_memory.py points EDGE
python limits_of_memory.py sites RADIUS
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
from small_crystal import fcc_ball

from prammol.core.memory import keep_freed_memory, resident_mib
from prammol.core.parallel import Communicator
from prammol.diffraction.bragg_patch import paper_patches
from prammol.diffraction.dataset import Diffraction, local_shard
from prammol.diffraction.structure_factor import StructureFactor
from prammol.likelihood.fisher_information import Fisher
from prammol.likelihood.quasi_likelihood import PoissonMisfit
from prammol.potentials.potential import aluminium
from prammol.reconstruction.occupancy.candidate_sites import CandidateSites
from prammol.reconstruction.refinement.rotation_strain import ROTATIONS, align_strained

keep_freed_memory()  # as a reconstruction does
WHAT, SIZE = sys.argv[1], float(sys.argv[2])
x = fcc_ball(SIZE if WHAT == "sites" else 10.0)
patches = paper_patches(int(SIZE) if WHAT == "points" else 24)
size = sum(p.size for p in patches)
counts = [np.random.default_rng(1).poisson(3.0, p.shape).astype(float) for p in patches]
data = Diffraction(patches, counts)
del counts
shard = local_shard(data, Communicator())
factor = StructureFactor(shard.patches, 1e-7)
misfit = PoissonMisfit(shard, factor)
if WHAT == "points":
    scale = misfit(x, positions=True).scale
    align_strained(misfit, x, x + 0.01)
    fisher = Fisher(shard, factor.with_accuracy(1e-4), x, scale)  # as error bars do
    fisher.blocks()
    fisher.of_maps(ROTATIONS)
else:
    size = len(x)
    sites = CandidateSites(misfit, aluminium(), x, np.linalg.norm(x, axis=1) < SIZE - 3.0)
    sites.choose(sites.taken)
    misfit(x, positions=True)
print(size, resident_mib()[1] * 2**20)
