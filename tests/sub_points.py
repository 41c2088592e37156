"""What a detector with pixels and a blur sees, by direct sums on many points within each."""

from __future__ import annotations

import numpy as np

from prammol.diffraction.structure_factor import direct_structure_factor


def seen(patch, x, box, blur, points, order=8, factor=None):
    """Mean of abs(Omega)^2 around some points of a patch, by their numbers, (k,).

    With a factor, a function of q.

    Gauss quadrature along each axis, of the box and of the Gaussian in turn.
    """
    box, blur = np.broadcast_to(box, 3), np.broadcast_to(blur, 3)
    offsets, weights = np.zeros((1, 3)), np.ones(1)
    for axis in range(3):
        for rule, width in (
            (np.polynomial.legendre.leggauss, 0.5 * box[axis]),
            (np.polynomial.hermite_e.hermegauss, blur[axis]),
        ):
            if width:
                z, w = rule(order)
                step = np.zeros((order, 3))
                step[:, axis] = z * width
                offsets = (offsets[:, None] + step).reshape(-1, 3)
                weights = np.outer(weights, w / w.sum()).ravel()
    index = np.array(np.unravel_index(points, patch.shape)).T
    at = patch.origin + (index[:, None] + offsets) @ patch.step
    power = np.abs(direct_structure_factor(at.reshape(-1, 3), x)) ** 2
    if factor is not None:
        power = power * factor(at.reshape(-1, 3))
    return power.reshape(len(points), -1) @ weights
