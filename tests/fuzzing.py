"""Hostile files for every reader: ``python tests/fuzzing.py`` (``make fuzz``).

Each reader gets valid files with bytes changed at random, and texts and HDF5 files that
hypothesis makes up. It may return something or raise one of prammol's own errors, in one
sentence, within seconds and a bounded memory; anything else is a finding, printed with the
seed that makes it again. ``tests/fuzz_coverage.py`` does the same guided by coverage.
"""

from __future__ import annotations

import argparse
import contextlib
import faulthandler
import resource
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import tifffile
from states import state_of

from prammol.cli.settings import parse_settings
from prammol.core.errors import PrammolError
from prammol.diffraction.bragg_patch import paper_patches
from prammol.diffraction.dataset import Diffraction
from prammol.diffraction.support import Support
from prammol.io import (
    read_atoms,
    read_diffraction,
    read_reconstruction,
    read_support,
    write_atoms,
    write_diffraction,
    write_lammps_data,
    write_reconstruction,
    write_support,
)
from prammol.io.beamline import read_beamline
from prammol.io.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from prammol.io.earlier_state import read_cif
from prammol.io.instrument import read_instrument
from prammol.io.phased_objects import read_object
from prammol.io.scans import write_scans
from prammol.io.trajectory import append_frame, read_trajectory, whole_frames
from prammol.potentials.choose import choose_potential
from prammol.potentials.eam import read_setfl
from prammol.reconstruction.result import Reconstruction
from prammol.simulation.averages import innermost_patches
from prammol.simulation.scans import simulate_scans
from prammol.structure.atoms import Atoms

SECONDS = 20  # of one input, on a machine that has other things to do
MEMORY = 3 << 30  # bytes beyond what the process has at the beginning
FORBIDDEN = set("\n\r;&$#`|'")


@dataclass(frozen=True)
class Target:
    """A reader, the end of its files' names, and how many of 1000 inputs it gets."""

    read: Callable[[Path], object]
    suffix: str
    share: int


class FaultError(Exception):
    """What a reader must not do."""


def _diffraction(path: Path) -> None:
    read_diffraction(path).require_three_dimensions()


def _trajectory(path: Path) -> None:
    with contextlib.suppress(PrammolError):
        whole_frames(path)
    read_trajectory(path)


def _potential(path: Path) -> None:
    found = choose_potential(element="Al", file=path, structure="fcc", lattice_constant=4.05)
    read_setfl(found)
    _require_harmless(found.commands())


def _settings(path: Path) -> None:
    text = path.read_text(encoding="utf-8", errors="replace")
    parse_settings("default", text.splitlines() or [""])


def _commands(path: Path) -> None:
    style, _, coefficients = path.read_text(encoding="utf-8", errors="replace").partition("\n")
    found = choose_potential(
        element="Al", pair_style=style, pair_coeff=coefficients.split("\n"),
        structure="fcc", lattice_constant=4.05,
    )  # fmt: skip
    _require_harmless(found.commands())


def _require_harmless(commands: list[str]) -> None:
    for command in commands:
        verb, *words = command.split()
        bad = FORBIDDEN.intersection(command) or {"python", "mliap", "kim"}.intersection(words)
        if verb not in ("pair_style", "pair_coeff") or bad:
            msg = f"LAMMPS would be given {command!r}"
            raise FaultError(msg)


TARGETS = {
    "diffraction": Target(_diffraction, ".h5", 60),
    "scans": Target(_diffraction, ".h5", 40),
    "instrument": Target(read_instrument, ".yaml", 60),
    "beamline": Target(read_beamline, ".yaml", 60),
    "support": Target(read_support, ".h5", 50),
    "reconstruction": Target(read_reconstruction, ".h5", 50),
    "checkpoint": Target(read_checkpoint, ".h5", 50),
    "object": Target(read_object, ".cxi", 50),
    "npy": Target(read_object, ".npy", 60),
    "npz": Target(read_object, ".npz", 60),
    "tif": Target(read_object, ".tif", 40),
    "xyz": Target(read_atoms, ".xyz", 180),
    "data": Target(read_atoms, ".data", 60),
    "cif": Target(read_cif, ".cif", 60),
    "trajectory": Target(_trajectory, ".xyz", 100),
    "setfl": Target(_potential, ".eam.alloy", 70),
    "fs": Target(_potential, ".eam.fs", 40),
    "adp": Target(_potential, ".adp", 30),
    "eam": Target(_potential, ".eam", 40),
    "settings": Target(_settings, ".txt", 10),
    "commands": Target(_commands, ".txt", 60),
}


def examples(folder: Path) -> dict[str, list[bytes]]:
    """Return small valid files for each reader."""
    rng = np.random.default_rng(1)
    patches = paper_patches(3)
    counts = [rng.poisson(5.0, p.shape).astype(float) for p in patches]
    inside = np.ones((2, 2, 2), bool)
    atoms = Atoms(rng.random((3, 3)), "Al", {"energy": rng.random(3)}, {"kind": "bulk", "a": 4.05})
    record = {"iteration": 1, "log_likelihood": -1.5, "stages": {"select": 1.0}}
    state = state_of(atoms.positions, 2.0, iteration=1)
    write_diffraction(folder / "diffraction", Diffraction(patches, counts, meta={"element": "Al"}))
    _scans(folder)
    write_support(folder / "support", Support(np.zeros(3), 5 * np.eye(3), inside))
    result = Reconstruction(atoms, 2.0, [record], True, "converged", 1.0, 1.0, 1, 0, "default")
    write_reconstruction(folder / "reconstruction", result)
    write_checkpoint(folder / "checkpoint", Checkpoint(state, [record], {"seed": "1"}))
    values = rng.random((3, 4, 5))
    with h5py.File(folder / "object", "w") as file:
        file["entry_1/image_1/data"] = values.astype(complex)
        file["entry_1/image_1/support"] = np.ones((3, 4, 5), int)
        file["entry_1/image_1/process_1/configuration/iobs_shape"] = [3, 4, 5]
    with h5py.File(folder / "object-2", "w") as file:
        file["entry_1/image_1"] = h5py.SoftLink("/entry_1/amplitude")
        file["entry_1/amplitude/data"] = values
        file["entry_1/result_1/voxel_size"] = [1.0, 1.0, 1.0]
    np.save(folder / "npy.npy", values)
    np.savez(folder / "npz.npz", amp=values, voxel_sizes=[1.0, 1.0, 1.0])
    np.savez_compressed(folder / "npz-2.npz", amplitude=values, support=values > 0.5)
    np.savez(folder / "npz-3.npz", amp=values, other=np.array({"a": 1}, dtype=object))
    parts = np.zeros(values.shape, [("real", float), ("imag", float)])
    parts["real"] = values
    with h5py.File(folder / "object-3", "w") as file:
        file["output/amp"] = parts
    _tif(folder / "tif", values)
    write_atoms(folder / "xyz", atoms)
    (folder / "xyz-2").write_text("2\n\nAl 0 0 0\nAl 0 0 3\n")
    (folder / "xyz-3").write_text(
        "2\nLattice='9 0 0 0 9 0 1 2 9' pbc='T T F' Properties=species:S:1:pos:R:3\n"
        "al 0 0 0\nAL 8 0 0\n", encoding="utf-8-sig",
    )  # fmt: skip
    write_lammps_data(folder / "data", atoms, 27.0)
    (folder / "data-2").write_text(
        "x\n\n2 atoms\n1 atom types\n0 9 xlo xhi\n0 9 ylo yhi\n0 9 zlo zhi\n1 2 3 xy xz yz\n\n"
        "Atom Type Labels\n\n1 Al\n\nMasses\n\n1 27 # Al\n\nAtoms # full\n\n"
        "1 1 1 0 0 0 0 0 0 1\n2 1 Al 0 0 0 3 1 0 0\n"
    )
    (folder / "cif").write_text(
        "data_x\n_cell_length_a 9\n_cell_length_b 9\n_cell_length_c 9\n_cell_angle_alpha 90\n"
        "_cell_angle_beta 90\n_cell_angle_gamma 90\nloop_\n_atom_site_label\n"
        "_atom_site_type_symbol\n_atom_site_fract_x\n_atom_site_fract_y\n_atom_site_fract_z\n"
        "Al1 Al 0 0 0\nAl2 Al 0.3 0 0.25(3)\n"
    )
    for stage in ("start", "iteration"):
        info = {"stage": stage, "start": 0, "iteration": 1}
        append_frame(folder / "trajectory", Atoms(atoms.positions, "Al", {}, info))
    setfl = ["c", "c", "c", "1 Al", "3 0.1 3 0.2 0.6", "13 26.98 4.05 fcc", "0 1 2", "1 2 0"]
    (folder / "setfl").write_text("\n".join([*setfl, "3 2 0"]))
    (folder / "fs").write_text("\n".join([*setfl, "3 2 0"]))
    (folder / "adp").write_text("\n".join([*setfl, "3 2 0", "3 2 0", "3 2 0"]))
    (folder / "eam").write_text("c\n13 26.98 4.05 fcc\n3 0.1 3 0.2 0.6\n0 1 2\n3 2 0\n1 2 0\n")
    (folder / "settings").write_text(
        "patience=20\ncomplete_atoms.thresholds=[0.5, 0.35]\n"
        "debye_waller=true\nphase_patches.blur=0.75\nphase_patches.threshold=1e-1\n"
    )
    (folder / "commands").write_text("lj/cut 8.5\n1 1 0.4 2.6")
    (folder / "commands-2").write_text(
        "hybrid/overlay zbl 4 4.8 lj/cut 8\n1 1 zbl 13 13\n* * lj/cut 1 3"
    )
    found: dict[str, list[bytes]] = {name: [] for name in TARGETS}
    for path in sorted(folder.iterdir()):
        found[path.stem.partition("-")[0]].append(path.read_bytes())
    return found


def _scans(folder: Path) -> None:
    text = (
        "beam: {flux: 1e22}\nscans: {step: 9, images: 3, exposure: [1, 0.7, 1.6]}\n"
        "detector: {pixel_size: 2e-2, distance: 0.1, shape: [3, 4], fill: 0.01}\n"
    )
    (folder / "instrument.yaml").write_text(text)
    made = read_instrument(folder / "instrument.yaml")
    (folder / "beamline.yaml").write_text(
        "energy: 9\nflux_density: 4e11\ndistance: 0.5\npixel: 55\npixels: 516\n"
        "rocking_step: 0.02\nimages: 100\nexposure: 1.0\n"
    )
    atoms = Atoms(np.array([[0.0, 0.0, 0.0], [0.0, 2.0, 2.0]]), "Al")
    cells = innermost_patches(atoms, 2, half_width=0.5)
    write_scans(folder / "scans", simulate_scans(atoms, made, 1, cells)[0], made, "Al")


def _tif(path: Path, values: np.ndarray) -> None:
    from PIL import Image

    pages = [Image.fromarray(plane.astype(np.float32)) for plane in values]
    pages[0].save(path, format="TIFF", save_all=True, append_images=pages[1:])
    planes, black = np.moveaxis(values, 2, 0), {"photometric": "minisblack"}
    tifffile.imwrite(path.with_name("tif-2"), planes + 1j, bigtiff=True, **black)
    tifffile.imwrite(path.with_name("tif-3"), planes > 0.5, byteorder=">", **black)
    tifffile.imwrite(path.with_name("tif-4"), planes, compression="zlib", **black)


_NUMBERS = [0, 1, 2, 127, 128, 255, 2**15, 2**16 - 1, 2**31 - 1, 2**32 - 1, 2**63 - 1, 2**64 - 1]
_WORDS = [
    b"nan", b"inf", b"-inf", b"1e400", b"-1", b"0", b"99999999999999999999", b"9" * 5000, b"\x00",
    b"\n", b" ", b"=", b'"', b"\\", b":", b"[" * 3000, b"{", b"T", b"/etc/passwd", b"../..", b"$x",
    "²".encode(), "\u2028".encode(), b"\xff\xfe", b"python", b"Properties=", b"species:S:1:pos:R:3",
    b"1e308", b"1_0", b"0x10", b"&", b"; shell id", b"${x}", b"`id`", b"#", b"a" * 4000,
]  # fmt: skip


def mutated(data: bytes, others: list[bytes], rng: np.random.Generator) -> bytes:
    """Return bytes with a few things changed at random."""
    out = bytearray(data)
    for _ in range(int(rng.geometric(0.35))):
        at = int(rng.integers(len(out) + 1))
        kind = rng.integers(8)
        if kind == 0 and out:
            out[at % len(out)] ^= 1 << int(rng.integers(8))
        elif kind == 1 and out:
            out[at % len(out)] = int(rng.integers(256))
        elif kind == 2:
            width = int(rng.choice([1, 2, 4, 8]))
            value = _NUMBERS[rng.integers(len(_NUMBERS))] % (1 << 8 * width)
            out[at : at + width] = value.to_bytes(width, "little")
        elif kind == 3:
            out[at:at] = _WORDS[rng.integers(len(_WORDS))]
        elif kind == 4:
            word = _WORDS[rng.integers(len(_WORDS))]
            out[at : at + len(word)] = word
        elif kind == 5:
            del out[at : at + int(rng.integers(1, 40))]
        elif kind == 6:
            other = others[rng.integers(len(others))]
            begin = int(rng.integers(len(other) + 1))
            out[at:at] = other[begin : begin + int(rng.integers(1, 80))]
        elif rng.random() < 0.2:
            del out[at:]
    return bytes(out)


class HangError(Exception):
    """An input took too long."""


def attempt(target: Target, path: Path) -> str:
    """Read one file; return what came of it, "read" or "refused".

    Raises
    ------
    Exception
        Whatever the reader must not do.
    """
    try:
        target.read(path)
    except PrammolError as error:
        text = str(error)
        if not text or "\n" in text or len(text) > 1000:
            msg = f"not one sentence: {text[:300]!r}"
            raise FaultError(msg) from error
        return "refused"
    return "read"


def _too_long(number: int, frame: object) -> None:
    raise HangError


@contextlib.contextmanager
def bounded() -> Iterator[None]:
    """Bound the memory of this process and make a hang an error; warnings are errors, too."""
    with open("/proc/self/statm", encoding="ascii") as file:
        pages = int(file.read().split()[0])
    before = resource.getrlimit(resource.RLIMIT_AS)
    limit = pages * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, before[1]))
    handler = signal.signal(signal.SIGALRM, _too_long)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, handler)
        resource.setrlimit(resource.RLIMIT_AS, before)


def fuzz(
    names: list[str], inputs: int, seed: int, folder: Path, stop: bool = False
) -> tuple[Counter[str], dict[str, bytes]]:
    """Give readers changed files; return how often they did what, and the findings.

    Parameters
    ----------
    names : list of str
        Readers, of ``TARGETS``.
    inputs : int
        Files for all of them together.
    seed : int
        Of the changes; input n of a reader depends on the seed, n and its name only.
    folder : Path
        Where to write files.
    stop : bool
        Whether to raise at the first finding.
    """
    (folder / "examples").mkdir()
    valid = examples(folder / "examples")
    total = sum(TARGETS[name].share for name in names)
    count: Counter[str] = Counter()
    findings: dict[str, bytes] = {}
    for name in names:
        target = TARGETS[name]
        path = folder / f"input{target.suffix}"
        begin = time.perf_counter()
        for n in range(-(-inputs * target.share // total)):
            rng = np.random.default_rng([seed, n, *name.encode()])
            data = mutated(valid[name][n % len(valid[name])], valid[name], rng)
            path.write_bytes(data)
            signal.alarm(SECONDS)
            # A library that never returns to Python can't be interrupted, only ended.
            signal.setitimer(signal.ITIMER_VIRTUAL, SECONDS)
            try:
                count[f"{name} {attempt(target, path)}"] += 1
            except (Exception, HangError) as error:
                signal.alarm(0)
                signal.setitimer(signal.ITIMER_VIRTUAL, 0)
                if stop:
                    raise
                count[f"{name} FAULT"] += 1
                last = traceback.extract_tb(error.__traceback__)[-1]
                key = f"{name}: {type(error).__name__} at {last.filename}:{last.lineno}"
                if key not in findings:
                    findings[key] = data
                    print(f"seed {seed} input {n} of {key}: {str(error)[:150]!r}", flush=True)
            signal.alarm(0)
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        print(f"{name}: {time.perf_counter() - begin:.0f} s", file=sys.stderr, flush=True)
    return count, findings


def main() -> int:
    """Fuzz all readers; return 1 if something was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", action="append", choices=list(TARGETS))
    parser.add_argument("--keep", type=Path, help="folder for the inputs that were found")
    options = parser.parse_args()
    faulthandler.enable()
    faulthandler.register(signal.SIGVTALRM, chain=True)
    with tempfile.TemporaryDirectory() as folder, bounded():
        names = options.only or list(TARGETS)
        count, findings = fuzz(names, options.inputs, options.seed, Path(folder))
    for what, number in sorted(count.items()):
        print(f"{number:>8} {what}")
    print(f"{sum(count.values())} inputs, {len(findings)} findings")
    for number, data in enumerate(findings.values()):
        if options.keep is not None:
            options.keep.mkdir(exist_ok=True, parents=True)
            (options.keep / f"{options.seed}-{number}").write_bytes(data)
    return int(bool(findings))


if __name__ == "__main__":
    sys.exit(main())
