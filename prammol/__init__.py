"""prammol: every atom of a nanocrystal from coherent diffraction.

>>> import prammol
>>> truth = prammol.make_crystal("vacancy")
>>> data = prammol.simulate(truth, flux=1e20, seed=1)
>>> support = prammol.support_from_truth(truth, resolution=5.0)
>>> result = prammol.reconstruct(data, support, seed=1)
>>> prammol.evaluate(result.atoms, truth).n_missing

The public names and where they live are listed in ``__init__.pyi``. Each is loaded on first
use: ``import prammol`` loads no numerical library, which still has to be told its threads.
"""

import lazy_loader

from prammol.core.version import __version__ as __version__

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
