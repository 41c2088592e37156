"""Checkpoints: what is written is read to the bit, damage is one sentence, identity is complete."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from states import altered, state_of

from prammol.core.errors import InputError
from prammol.diffraction.bragg_patch import paper_patches
from prammol.diffraction.dataset import Diffraction
from prammol.diffraction.diffuse_scattering import DiffuseScattering
from prammol.diffraction.support import Support
from prammol.io import atomic_write as io_files
from prammol.io import checkpoint, run_identity
from prammol.io.checkpoint import (
    Checkpoint,
    checkpoint_path,
    read_checkpoint,
    write_checkpoint,
)
from prammol.io.run_identity import identity, require_same
from prammol.potentials.potential import aluminium
from prammol.reconstruction.presets import get_preset


@pytest.fixture
def saved(rng):
    state = state_of(
        rng.normal(size=(7, 3)),
        0.1 + 0.2,
        displacements=rng.random(7),
        occupancies=rng.random(7),
        stiffness=1.0 / 3.0,
        bond_energy=0.7,
        excess=float("inf"),
        converged=True,
        iteration=5,
        selected=True,
        added=3,
        removed=1,
    )
    history = [{"iteration": i, "selected": bool(i % 2), "energy": -0.1 * i} for i in range(6)]
    return Checkpoint(state, history, {"seed": "1"}, "me", True, [2, 3], 4, 1.5, 6.25)


def test_reading_gives_back_what_was_written_to_the_bit(saved, tmp_path):
    write_checkpoint(tmp_path / "c.h5", saved)
    found = read_checkpoint(tmp_path / "c.h5")
    arrays = ("positions", "occupancies", "displacements")
    for name in arrays:
        ours, theirs = (getattr(made.state.model, name) for made in (found, saved))
        np.testing.assert_array_equal(ours, theirs)
    none = dict.fromkeys(arrays)
    assert altered(found.state, **none) == altered(saved.state, **none)
    assert replace(found, state=None) == replace(saved, state=None)


def test_diffuse_scattering_is_given_back_to_the_bit(saved, rng, tmp_path):
    parts = (
        rng.random(12),
        rng.random(12),
        0.011,
        rng.random(2),
        0.1,
        rng.random((2, 12)),
        saved.state.positions,
        0.0037,
    )
    model = replace(saved.state.model, diffuse=DiffuseScattering(*parts))
    write_checkpoint(tmp_path / "c.h5", replace(saved, state=replace(saved.state, model=model)))
    found = read_checkpoint(tmp_path / "c.h5").state.model.diffuse
    for name, value in vars(model.diffuse).items():
        np.testing.assert_array_equal(getattr(found, name), value)


def test_the_name_of_the_checkpoint():
    assert checkpoint_path("a/r.h5") == Path("a/r.checkpoint.h5")
    assert checkpoint_path("trial-1.5") == Path("trial-1.5.checkpoint.h5")


def test_any_flipped_byte_of_the_state_is_noticed(saved, tmp_path):
    write_checkpoint(tmp_path / "c.h5", saved)
    good = (tmp_path / "c.h5").read_bytes()
    bad = tmp_path / "bad.h5"
    with h5py.File(tmp_path / "c.h5") as file:
        made = file["entry_1/checkpoint"]
        places = {n: made[n].id.get_offset() for n in ("positions", "occupancies", "scale")}
    for place in places.values():
        for shift in (0, 3):
            changed = bytearray(good)
            changed[place + shift] ^= 1
            bad.write_bytes(changed)
            with pytest.raises(InputError, match=r"bad\.h5: .*damaged"):
                read_checkpoint(bad)


@pytest.mark.parametrize("part", [0.0, 0.01, 0.3, 0.7, 0.99])
def test_a_truncated_checkpoint_is_one_sentence(saved, tmp_path, part):
    path = tmp_path / "c.h5"
    write_checkpoint(path, saved)
    content = path.read_bytes()
    path.write_bytes(content[: int(part * len(content))])
    with pytest.raises(InputError, match=r"c\.h5: .*") as error:
        read_checkpoint(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("format", 99, f"format 99, expected {checkpoint.FORMAT}"),
        ("positions", np.zeros((3, 2)), r"shape \(3, 2\), expected \(n, 3\)"),
        ("positions", np.full((3, 3), np.nan), "aren't finite"),
        ("history", "[]", "damaged"),
        ("history", "{", "damaged"),
        ("history", '[{"iteration": 4}]', "history doesn't end at its state"),
        ("status", '{"iteration": 5, "more": 1}', "damaged"),
        ("verdict", '{"wrong": 0.0}', "damaged"),
        ("matter_weights", np.ones(3), "damaged"),
        ("notes", "[1]", "damaged"),
        ("occupancies", None, "occupancies is missing"),
        ("scale", None, "scale is missing"),
        ("diffuse_trust", np.ones(3), "damaged"),
    ],
)
def test_nonsense_in_a_checkpoint_is_one_sentence(saved, tmp_path, name, value, message):
    path = tmp_path / "c.h5"
    write_checkpoint(path, saved)
    with h5py.File(path, "a") as file:
        made = file["entry_1/checkpoint"]
        del made[name]
        if value is not None:
            made[name] = value
            # made by somebody who knows the format
            if name not in ("format",) and "shape" not in message:
                del made["checksum"]
                made["checksum"] = checkpoint._checksum(made)
    with pytest.raises(InputError, match=message) as error:
        read_checkpoint(path)
    assert "\n" not in str(error.value)


def test_other_hdf5_files_are_no_checkpoints(small):
    with pytest.raises(InputError, match=r"d\.h5: has no /entry_1/checkpoint"):
        read_checkpoint(small / "d.h5")


def test_the_identity_is_everything_the_result_depends_on(rng, tmp_path, monkeypatch):
    patches = paper_patches(4)
    counts = [rng.poisson(5.0, p.shape).astype(float) for p in patches]
    data = Diffraction(patches, counts)
    support = Support(np.zeros(3), np.eye(3), np.ones((2, 2, 2), dtype=bool))
    potential, preset = aluminium(), get_preset("default")
    own = identity(data, support, potential, preset, 1)
    more = [counts[0] + 1, *counts[1:]]
    masked = [np.array(v) for v in data.valid]
    masked[1][0, 0, 0] = False
    part = np.array(support.inside)
    part[0, 0, 1] = False
    table = tmp_path / "table.alloy"
    table.write_text(potential.file.read_text() + "\n")
    others = {
        "diffraction": [
            identity(Diffraction(p, c, v), support, potential, preset, 1)
            for p, c, v in (
                (patches, more, ()), (patches, counts, masked), (patches[::-1], counts, ()),
            )
        ],
        "support": [
            identity(data, Support(o, e, s), potential, preset, 1)
            for o, e, s in (
                (np.ones(3), np.eye(3), support.inside),
                (np.zeros(3), 2 * np.eye(3), support.inside),
                (np.zeros(3), np.eye(3), part),
            )
        ],
        "potential": [
            identity(data, support, replace(potential, **change), preset, 1)
            for change in ({"mass": 27.0}, {"lattice_constant": 4.0}, {"file": table})
        ],
        "preset, settings": [],
        "settings": [
            identity(data, support, potential, preset.with_settings(change), 1)
            for change in ({"patience": 3}, {"significance": 4.0})
        ],
        "seed": [identity(data, support, potential, preset, 2)],
    }  # fmt: skip
    require_same("c.h5", own, own)
    for name, found in others.items():
        for other in found:
            with pytest.raises(InputError, match=f"a run with another {name}, it can't"):
                require_same("c.h5", other, own)
    paper = identity(data, support, potential, get_preset("paper"), 1)
    with pytest.raises(InputError, match="another preset and settings, it"):
        require_same("c.h5", paper, own)
    monkeypatch.setattr(run_identity, "__version__", "9.9")
    newer = identity(data, support, potential, preset, 1)
    with pytest.raises(InputError, match=r"version of prammol, .* this is 9\.9"):
        require_same("c.h5", own, newer)
    # The place of a file and photons nobody looks at don't matter.
    table.write_text(potential.file.read_text())
    monkeypatch.undo()
    assert identity(data, support, replace(potential, file=table), preset, 1) == own
    unseen = [np.where(v, c, 99.0) for c, v in zip(counts, masked, strict=True)]
    assert identity(Diffraction(patches, unseen, masked), support, potential, preset, 1) == (
        identity(Diffraction(patches, counts, masked), support, potential, preset, 1)
    )


def test_a_checkpoint_that_cannot_be_written_leaves_the_last_one(saved, tmp_path, monkeypatch):
    path = tmp_path / "c.h5"
    write_checkpoint(path, saved)
    before = path.read_bytes()

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(io_files, "_flush", full)
    with pytest.raises(InputError, match=r"c\.h5: can't be written \(No space"):
        write_checkpoint(path, replace(saved, run="you"), force=True)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["c.h5"]
