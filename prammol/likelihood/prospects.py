"""What counts can decide before anything is fitted: single atoms, layers, or only shape and strain.

The Fisher information of whether a site holds an atom is, the phases of speckles being random,

    A_jk = 2 sum_q C^2 e(q) cos((q - G).(x_j - x_k)),

e the part of it that background leaves. If the sites v (+1 added, -1 removed) are wrong, the
log-likelihood falls by v.A v / 2, with the variance v.A v: the wrong set wins with the probability
Phi(-sqrt(v.A v) / 2), as behind a matched filter (Turin, IRE Trans. Inf. Theory 6, 311 (1960)).
One atom alone loses the photons that it scatters into the patches. Many at once lose less where
the patches are narrow: how many sites at the surface of a ball are wrong, all of them unknown, is
found by the state evolution of a message-passing algorithm. Positions are those of a known
potential: uncertain are the orientation, by the Fisher information of a ball, and what wrong
atoms do to the others, by relaxing a ball with one atom less.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import exp1, ndtr

from prammol.diffraction.bragg_patch import BraggPatch
from prammol.diffraction.dataset import Diffraction
from prammol.potentials.potential import Potential
from prammol.potentials.softness import Relaxation, perfect_ball
from prammol.structure.surface import on_surface

Floats = NDArray[np.float64]

SINGLE_ATOMS, LAYERS, SHAPE = "single atoms", "layers", "only shape and strain"
# chosen: the vacancy crystal, where 0.5 % of all atoms are its flux study's limit; not varied
_RESOLVED = 0.01  # wrong ones of the doubtful sites
_NONE = 1e-3  # derived: what no experiment sees
_CLEARLY = 10.0  # chosen: bulk crystals of 600 atoms at +-0.15 and +-0.3 r.l.u.; not varied
# chosen: crystals of 600 to 4679 atoms, +-0.3 to +-0.6 r.l.u., 1e15 to 1e20; from 0.6 to 0.76
_FOUND = 0.7  # part of the surface's unknowns that the search has needed
_WIDE = 1.8  # width that it has needed; chosen: the same crystals; from 1.6 to 1.99
_SURE = 0.05  # derived: a layer is wrong once in twenty times
# chosen: 1300 atoms, +-0.05 to +-0.6 r.l.u., 1e13 to 1e20; 300 to 3000 change 1 of 35 limits
_HOPELESS = 1000.0  # times the photons
# chosen: 4679 atoms at +-0.6 r.l.u., 400 to 2000 within a fifth; at +-0.3 r.l.u. the photons that
# resolve differ tenfold
_BALL = 900  # atoms of the model ball
_LEAST = 13.0  # derived: an atom and its neighbours
_NYQUIST = 2.0  # derived: points for each speckle that hold its intensity
_SAMPLED = 3000  # points that stand for all; chosen: 4679 atoms; 1000 to 6000, within a third
_PRIOR = 0.25  # derived: variance of a site that is occupied as likely as not
_ROUNDS = 200  # chosen: a limit that hardly binds; not varied
_SETTLED = 1e-4  # derived: the number of wrong atoms needs two digits
_CERTAIN = 1e-9  # derived: all others are known then
_CAP = 0.87  # derived: cosine of 30 degrees, what the outermost layer of a ball reaches to
_MEAN_LENGTH = (8 / (3 * np.pi)) ** 0.5  # derived: of a Gaussian vector, relative to its rms
_FAR = 500.0  # derived: beyond it exp(x) E1(x) is 1/x to 0.2 %
_MOST = 1e12  # derived: times the photons, which no source has
_HERMITE = np.polynomial.hermite_e.hermegauss(61)  # derived: smooth integrands


@dataclass(frozen=True, eq=False)
class PatchPhotons:
    """One patch as far as it matters here.

    Attributes
    ----------
    patch : BraggPatch
    peak : (3,) ndarray
        Scattering vector of its Bragg peak [1/Å, with 2 pi].
    photons : float
        Photons that the crystal scatters around the peak.
    background : float
        Other photons, the mean of the points.
    measured : float
        Part of the points that is valid.
    """

    patch: BraggPatch
    peak: Floats
    photons: float
    background: float = 0.0
    measured: float = 1.0


@dataclass(frozen=True)
class Prospects:
    """What counts can decide at best.

    Attributes
    ----------
    verdict : {"single atoms", "layers", "only shape and strain"}
    limit : {"nothing", "photons", "background", "sampling", "width of the patches"}
        What to improve first.
    atoms : float
        Atoms of the crystal.
    doubtful_sites : float
        Atoms of its surface, and vacant sites beside them.
    photons : float
        Photons of all peaks.
    photons_per_atom : float
        Photons that a single atom scatters into the patches, less what background drowns: the
        log-likelihood that its absence costs.
    measured_part : float
        Part of the unknowns of the surface, one for each doubtful site, that the patches measure.
    width : float
        Half the edge of a cube as large as the narrowest patch, times the distance of neighbours
        [rad].
    points_per_speckle : float
        Points per speckle along the coarsest axis; the least that holds the intensity is 2.
    wrong_atoms : float
        Expected number of missing and extra atoms.
    wrong_layer : float
        Probability that a layer of the surface is wrong.
    position_pm : float
        Mean error of the atoms that are right, the potential known [pm].
    strain : float
        Error of the strain of a bond (rms), the potential known; of the mean strain without it,
        see `lattice_strain`.
    lattice_strain : float
        Error of d/d0 - 1 from the peaks' positions alone.
    resolving_factor : float or None
        How many times as many photons resolve single atoms; None if none do.
    """

    verdict: str
    limit: str
    atoms: float
    doubtful_sites: float
    photons: float
    photons_per_atom: float
    measured_part: float
    width: float
    points_per_speckle: float
    wrong_atoms: float
    wrong_layer: float
    position_pm: float
    strain: float
    lattice_strain: float
    resolving_factor: float | None

    @property
    def too_narrow(self) -> bool:
        """Whether patches are so narrow that ten times the photons don't decide single atoms."""
        factor = self.resolving_factor
        narrow = self.limit == "width of the patches"
        return self.verdict != SINGLE_ATOMS and narrow and (factor is None or factor > _CLEARLY)

    @property
    def hard_to_find(self) -> bool:
        """Whether single atoms are decided, but not so that the search has found them so far."""
        hard = self.measured_part < _FOUND or self.width < _WIDE
        return self.verdict == SINGLE_ATOMS and hard

    def text(self) -> str:
        """Return one sentence for a person."""
        strains = f" and strains within {self.strain:.1g}" if self.strain > _NONE else ""
        return (
            f"these data can decide {self.verdict}: expected at best {self.wrong_text()} wrong "
            f"of {self.atoms:.0f} atoms, a mean error of {self.position_pm:.2g} pm{strains} if the "
            f"potential is right; limit: {self.limit}"
        )

    def wrong_text(self) -> str:
        """Return how many atoms would be wrong; nobody reads 1e-87."""
        return f"{self.wrong_atoms:.2g}" if self.wrong_atoms > _NONE else "none"

    def summary(self) -> dict[str, Any]:
        """Return all numbers by their names."""
        return asdict(self)


def measured_patches(data: Diffraction) -> list[PatchPhotons]:
    """Return what matters here of measured counts."""
    out = []
    triples = zip(data.patches, data.valid, data.peaks(), strict=True)
    for k, (patch, valid, peak) in enumerate(triples):
        signal = float(np.where(valid, data.signal(k), 0.0).sum())
        rest = float(data.counts[k][valid].sum()) - signal
        part = float(valid.mean())
        background = max(rest, 0.0) / max(int(valid.sum()), 1)
        out.append(PatchPhotons(patch.affine, peak, max(signal, 0.0), background, part))
    return out


def prospects(
    patches: Sequence[PatchPhotons],
    atoms: float,
    potential: Potential,
    soft: Relaxation,
    factors: Sequence[float] = (1.0,),  # derived: the photons as they are
) -> list[Prospects]:
    """Return what counts of a compact crystal can decide, for each of some fluxes.

    Parameters
    ----------
    patches : sequence of PatchPhotons
    atoms : float
        Atoms of the crystal.
    potential : Potential
        Its lattice.
    soft : Relaxation
        See :func:`prammol.potentials.softness.relaxation`.
    factors : sequence of float
        How many times as many photons, and background.

    Returns
    -------
    list of Prospects
        One for each factor.
    """
    radius = (0.75 / np.pi * atoms * potential.atomic_volume) ** (1 / 3)
    kappa, weight, full, moments = _points(patches, atoms, potential, radius)
    own = float(weight.sum())
    x, groups = _sites(potential, min(_BALL, max(atoms, _LEAST)))
    wave = np.exp(1j * kappa @ x.T)
    # Which sites are added and which removed doesn't change the eigenvalues.
    matrix = 2.0 * (wave.conj().T @ (weight[:, None] * wave)).real
    strengths = np.maximum(np.linalg.eigvalsh(matrix), 0.0)
    layers = np.maximum(np.linalg.eigvalsh(groups @ matrix @ groups.T), 0.0)
    sites = len(x) * max(atoms / _BALL, 1.0) ** (2 / 3)

    def wrong(factor: float) -> float:
        return sites * _wrong_part(factor * strengths)

    allowed = max(1.0, _RESOLVED * sites)
    resolving = _factor(wrong, allowed)
    per_speckle = min(
        np.pi / radius / float(np.linalg.norm(s)) for p in patches for s in p.patch.step
    )
    volume = min(p.patch.size * abs(float(np.linalg.det(p.patch.step))) for p in patches)
    width = 0.5 * volume ** (1 / 3) * potential.neighbour_distance
    turned, lattice = _of_the_whole(patches, moments, radius)
    out = []
    for factor in factors:
        number, layer = wrong(factor), _wrong_part(factor * layers)
        alone = sites * float(ndtr(-((0.5 * factor * own) ** 0.5)))
        share = min(number / max(atoms, 1.0), 1.0)
        moved = np.hypot(turned / factor**0.5, soft.displacement * share**0.5)
        more = None if resolving is None else resolving / factor
        single = number <= allowed
        part = np.mean(strengths / (strengths + 1.0 / (_PRIOR * factor)))
        out.append(
            Prospects(
                verdict=SINGLE_ATOMS if single else LAYERS if layer <= _SURE else SHAPE,
                limit=_limit(single, more, alone <= allowed, own / max(full, 1e-300), per_speckle),
                atoms=float(atoms),
                doubtful_sites=float(sites),
                photons=factor * float(sum(p.photons for p in patches)),
                photons_per_atom=factor * own,
                measured_part=float(part),
                width=width,
                points_per_speckle=per_speckle,
                wrong_atoms=number,
                wrong_layer=layer,
                position_pm=100.0 * _MEAN_LENGTH * float(moved),
                strain=soft.strain * share**0.5,
                lattice_strain=lattice / factor**0.5,
                resolving_factor=more,
            )
        )
    return out


def _limit(
    single: bool, factor: float | None, enough: bool, seen: float, per_speckle: float
) -> str:
    """Return what to improve first; `enough`: single changes alone would be decided."""
    if per_speckle < _NYQUIST:
        return "sampling"
    if single:
        return "nothing"
    if enough or factor is None or factor > _HOPELESS:
        return "width of the patches"
    return "background" if seen < 0.5 else "photons"


def _factor(wrong: Any, allowed: float) -> float | None:
    """Return how many times the photons leave so few atoms wrong."""
    if wrong(_MOST) > allowed:
        return None
    low, high = -np.log(_MOST), np.log(_MOST)
    if wrong(np.exp(low)) < allowed:
        return float(np.exp(low))
    return float(np.exp(brentq(lambda t: wrong(np.exp(t)) - allowed, low, high, xtol=1e-3)))


def _points(
    patches: Sequence[PatchPhotons], atoms: float, potential: Potential, radius: float
) -> tuple[Floats, Floats, float, list[Floats]]:
    """Return points that stand for all, (m, 3) from the peak [1/Å], C^2 e of each, and their C^2.

    The last are the mean squares of q of the photons of each patch, (3, 3) [1/Å^2]. With
    ``sum abs(Omega)^2`` around a peak n S (2 pi)^3 / (v dq), v the volume of an atom, dq that of a
    point, S the squared structure factor of a cell by its atoms.
    """
    rng = np.random.default_rng(0)
    strength = bragg_strength(potential)
    kappas, weights, moments, total = [], [], [], 0.0
    size = sum(p.patch.size for p in patches)
    for p in patches:
        voxel = abs(float(np.linalg.det(p.patch.step)))
        zone = (2 * np.pi) ** 3 / potential.atomic_volume / voxel
        scale = p.photons / max(atoms * strength * zone, 1e-300)
        some = max(_SAMPLED * p.patch.size // size, 1)
        index = np.column_stack([rng.integers(n, size=some) for n in p.patch.shape])
        kappa = p.patch.at(index) - p.peak
        # The mean intensity of a ball, beyond the peak that of its surface (Porod).
        density = 1.0 / potential.atomic_volume
        square = np.maximum(np.sum(kappa**2, axis=1), 1e-12)
        far = np.minimum(8.0 * (np.pi * density * radius / square) ** 2, atoms**2)
        expected = scale * strength * far
        seen = _seen(p.background / np.maximum(expected, 1e-300))
        share = scale * p.patch.size * p.measured / some
        kappas.append(kappa)
        weights.append(share * seen)
        moments.append(np.outer(p.peak, p.peak) + (kappa.T * far) @ kappa / far.sum())
        total += share * some
    return np.concatenate(kappas), np.concatenate(weights), total, moments


def _seen(x: Floats) -> Floats:
    """Return the mean of I / (I + b) over speckles, x = b / mean of I: 1 - x exp(x) E1(x)."""
    near = np.clip(x, 1e-300, _FAR)
    return np.where(x < _FAR, 1.0 - near * np.exp(near) * exp1(near), 1.0 / np.maximum(x, _FAR))


def bragg_strength(potential: Potential) -> float:
    """Return abs(sum exp(2 pi i h.r))^2 / n of the atoms of a primitive cell, mean of its peaks."""
    motif = potential.lattice.motif
    phase = np.exp(2j * np.pi * np.array(potential.lattice.peaks) @ motif.T)
    return float(np.mean(np.abs(phase.sum(axis=1)) ** 2)) / len(motif)


def _wrong_part(strengths: Floats) -> float:
    """Return the part of the sites that is wrong, by the eigenvalues of A, (n,).

    The state evolution of approximate message passing for binary unknowns (Takeuchi, IEEE Trans.
    Inf. Theory 66, 368 (2020)), from a start that knows nothing of them: each site is seen through
    a noise of variance `tau`, what it leaves uncertain of all sites makes the next `tau`.
    """
    known = _PRIOR
    part = 0.5
    for _ in range(_ROUNDS):
        posterior = float(np.mean(1.0 / (strengths + 1.0 / known)))
        precision = max(1.0 / posterior - 1.0 / known, 0.0)
        before, part = part, float(ndtr(-0.5 * precision**0.5))
        left = _binary_variance(precision)
        if left < _CERTAIN:
            return float(ndtr(-0.5 * np.mean(strengths) ** 0.5))
        known = 1.0 / max(1.0 / left - precision, 1.0 / _PRIOR)
        if abs(before - part) < _SETTLED * part:
            break
    return part


def _binary_variance(precision: float) -> float:
    """Return the mean variance of a site, 0 or 1, that was seen with Gaussian noise."""
    node, weight = _HERMITE
    half = 0.25 * precision + 0.5 * precision**0.5 * node
    return float(weight @ (1.0 - np.tanh(half) ** 2)) / 4 / float(weight.sum())


def _sites(potential: Potential, number: float) -> tuple[Floats, Floats]:
    """Return the doubtful sites of a ball, (m, 3) [Å], and which form a layer, (k, m)."""
    x = perfect_ball(potential, number)
    outer = x[on_surface(x, potential.bond_reach)]
    if not len(outer):
        outer = x
    vacant = potential.vacant_sites(x)
    sites = np.concatenate([outer, vacant]) - x.mean(axis=0)
    sign = np.concatenate([-np.ones(len(outer)), np.ones(len(vacant))])
    unit = sites / np.maximum(np.linalg.norm(sites, axis=1, keepdims=True), 1e-9)
    ways = np.array([d for d in product((-1, 0, 1), repeat=3) if any(d)], dtype=float)
    ways /= np.linalg.norm(ways, axis=1, keepdims=True)
    caps = (ways @ unit.T) > _CAP
    groups = np.concatenate([caps & (sign < 0), caps & (sign > 0)]).astype(float)
    return sites, groups[groups.any(axis=1)]


def _of_the_whole(
    patches: Sequence[PatchPhotons], moments: Sequence[Floats], radius: float
) -> tuple[float, float]:
    """Return the rms shift by the uncertain orientation [Å] and the error of d/d0 - 1.

    A peak of n photons of a ball is known within 1 / (2 R sqrt(n / 5)) along each axis.
    """
    arm = 0.8 * radius**2  # derived: 4 times the mean square of a coordinate in a ball
    turn, lattice = np.zeros((3, 3)), 0.0
    for p, moment in zip(patches, moments, strict=True):
        turn += arm * p.photons * (np.trace(moment) * np.eye(3) - moment)
        lattice += arm * p.photons * float(p.peak @ p.peak)
    inverse = np.linalg.inv(turn + 1e-12 * max(np.trace(turn), 1e-300) * np.eye(3))
    rms = radius * np.sqrt(0.4 * np.trace(inverse))
    return float(rms), float(1.0 / np.sqrt(max(lattice, 1e-300)))
