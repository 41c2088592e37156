"""Whether atoms of two files are the same, wherever they lie and in any order."""

from __future__ import annotations

import numpy as np


def require_alike(found, expected, atol=1e-6):
    """Check elements, and positions but for a turn and shift of all, in any order."""
    parts = []
    for symbols, x in (found, expected):
        gap = np.linalg.norm(x[:, None] - x, axis=2)
        rows = [(s, *np.sort(row).round(3)) for s, row in zip(symbols, gap, strict=True)]
        parts.append(sorted(rows))
    assert [r[0] for r in parts[0]] == [r[0] for r in parts[1]]
    one, two = (np.array([r[1:] for r in part]) for part in parts)
    np.testing.assert_allclose(one, two, atol=max(atol, 2e-3))


def content(atoms):
    return atoms.symbols.tolist(), atoms.positions
