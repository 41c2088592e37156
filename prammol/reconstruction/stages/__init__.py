"""The stages of a reconstruction, one module for each step of the loop.

A stage is a frozen dataclass: its fields are its settings, its call does the work. Those of
Algorithm 1 of the paper are in :mod:`prammol.reconstruction.stages.paper`, those of preset
``default`` in :mod:`prammol.reconstruction.stages.default`, those of ``shape`` in
:mod:`prammol.reconstruction.stages.shape`.
"""

__all__: list[str] = []
