"""Stages of preset ``shape``: what counts tell of a crystal whose single atoms they don't see."""

from __future__ import annotations

from prammol.reconstruction.stages.shape.fit_shape import FitShape
from prammol.reconstruction.stages.shape.lay_shape import LayShape

__all__ = ["FitShape", "LayShape"]
