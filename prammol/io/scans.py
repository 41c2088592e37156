"""Raw rocking scans in HDF5, as a beamline writes them: images and the angles of the circles.

Each scan is an entry: ``instrument_1/detector_1`` has the images, ``sample_1`` and the detector
the angles. ``docs/reference/files.md`` lists all names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from prammol.core.errors import InputError
from prammol.diffraction.bragg_patch import BraggPatch
from prammol.diffraction.calibration import GeometryUncertainty
from prammol.diffraction.dataset import Diffraction
from prammol.diffraction.diffractometer import Diffractometer
from prammol.diffraction.photon_flux import with_form_factor
from prammol.io.atomic_write import PathLike, naming
from prammol.io.cxi_layout import (
    entries_with,
    load_geometry,
    load_unmeasured,
    make_entry,
    store_geometry,
    usable,
)
from prammol.io.hdf5 import (
    LARGEST,
    create,
    find,
    group,
    load_array,
    load_number,
    load_text,
    store,
    to_json,
)
from prammol.simulation.instrument import Instrument
from prammol.simulation.scans import (
    DETECTOR_CIRCLES,
    PIXEL_DIRECTIONS,
    SAMPLE_CIRCLES,
    RockingScan,
    ScanTruth,
)

DETECTOR = "instrument_1/detector_1"
BEAM = "instrument_1/beam_1"


def diffraction_of_scans(file: h5py.File) -> Diffraction:
    """Return the diffraction of the scans of an open file.

    Scattering vectors come from the angles, by :class:`prammol.Diffractometer`; the gain from
    monitor, solid angle, polarisation, dead time and, if the file names the element, form factor.
    Bad and saturated pixels are masked.

    Raises
    ------
    InputError
        If xrayutilities isn't installed, or a dataset is missing, misshapen or makes no sense.
    DataError
        If no photon was counted, or images aren't in the order of a grid.
    """
    where = Path(file.filename)
    patches: list[BraggPatch] = []
    counts, valid, gain = [], [], []
    first, total = 0.0, 0
    entries = entries_with(file, DETECTOR)
    for entry in entries:
        camera = find(entry, DETECTOR)
        total += getattr(find(camera, "data"), "size", 0) or 0
        if total > LARGEST:
            msg = f"{where}: more than {LARGEST} points, expected a few million"
            raise InputError(msg)
        images = load_array(camera, "data", (None, None, None)).astype(float)
        good = _good(camera, images)
        monitor = _monitor(entry, len(images))
        first = first or float(monitor.mean())
        sample, arms, machine = _machine(entry)
        with naming(f"{where}: {entry.name}"):
            patches.append(machine.patch(images.shape, sample, arms))
            factor = machine.gain(images.shape[1:], arms, _polarisation(entry))
        counts.append(images)
        valid.append(good)
        gain.append(factor * (monitor / first)[:, None, None] * _live(camera, images, good))
    meta: dict[str, Any] = {}
    element = load_text(entries[0], "sample_1/element")
    if element:
        meta["element"] = element
    process = find(entries[0], "process_1")
    geometry, unmeasured = GeometryUncertainty(), np.empty((0, 3))
    if isinstance(process, h5py.Group):
        geometry, unmeasured = load_geometry(process), load_unmeasured(process)
    data = Diffraction(
        patches, counts, valid, meta, str(where), (), gain, geometry, unmeasured=unmeasured
    )
    with naming(data.source):
        return with_form_factor(data, element) if element else data


def _good(camera: h5py.Group, images: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return which points can be used: by the mask of pixels or points, and not saturated."""
    mask = find(camera, "mask")
    flat = isinstance(mask, h5py.Dataset) and len(mask.shape or ()) == 2
    good = np.broadcast_to(usable(camera, images.shape[1:] if flat else images.shape), images.shape)
    return np.asarray(good & (images < load_number(camera, "saturation_value", np.inf)))


def _monitor(entry: h5py.Group, images: int) -> NDArray[np.float64]:
    """Return the part of the beam that met the crystal in each image."""
    item = find(entry, f"{BEAM}/monitor")
    if item is None:
        return np.ones(images)
    shape = () if isinstance(item, h5py.Dataset) and item.shape == () else (images,)
    values = load_array(entry, f"{BEAM}/monitor", shape).astype(float)
    if not (np.isfinite(values).all() and (values > 0).all()):
        msg = f"{entry.file.filename}: {item.name} isn't positive everywhere, mask such images"
        raise InputError(msg)
    return np.array(np.broadcast_to(values, images))


def _live(
    camera: h5py.Group, images: NDArray[np.float64], good: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Return the part of the time in which each point could count, (n1, n2, n3)."""
    lost = load_number(camera, "dead_time", 0.0)
    live = 1.0 - np.where(good, images, 0.0) * lost / load_number(camera, "count_time", 1.0)
    if not (live > 0).all():
        msg = (
            f"{camera.file.filename}: {camera.name}/dead_time is {lost:g} s, more than there is "
            f"between two photons of the brightest point"
        )
        raise InputError(msg)
    return np.asarray(live)


def _polarisation(entry: h5py.Group) -> str:
    return load_text(entry, f"{BEAM}/polarisation")


def _machine(
    entry: h5py.Group,
) -> tuple[list[NDArray[np.float64]], list[float], Diffractometer]:
    """Return the angles of sample and detector and what they belong to."""
    where, camera = f"{entry.file.filename}: {entry.name}", find(entry, DETECTOR)
    names, axes = {}, {}
    for kind, usual in (("sample", SAMPLE_CIRCLES), ("detector", DETECTOR_CIRCLES)):
        text = load_text(entry, f"instrument_1/{kind}_circles", _text(usual))
        words = [part.split() for part in text.split(",")]
        if not all(len(w) == 2 for w in words):
            msg = f"{where}/instrument_1/{kind}_circles is {text!r:.60}, expected {_text(usual)!r}"
            raise InputError(msg)
        names[kind], axes[kind] = zip(*words, strict=True)
    images = getattr(find(camera, "data"), "shape", (0,))[0]
    sample = []
    for name in names["sample"]:
        item = find(entry, f"sample_1/{name}")
        alone = isinstance(item, h5py.Dataset) and item.shape == ()
        sample.append(load_array(entry, f"sample_1/{name}", () if alone else (images,)))
    arms = [load_number(camera, name) for name in names["detector"]]
    pixels = load_text(entry, "instrument_1/pixel_directions", ", ".join(PIXEL_DIRECTIONS))
    with naming(where):
        machine = Diffractometer(
            wavelength=1e10 * load_number(entry, f"{BEAM}/incident_wavelength"),
            distance=load_number(camera, "distance"),
            pixel_size=[load_number(camera, f"{axis}_pixel_size") for axis in "yx"],
            beam_centre=load_array(camera, "beam_centre", (2,)).astype(float).tolist(),
            sample_axes=axes["sample"],
            detector_axes=axes["detector"],
            pixel_directions=[p.strip() for p in pixels.split(",")],
        )
    return sample, arms, machine


def _text(circles: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {axis}" for name, axis in circles.items())


def write_scans(
    path: PathLike,
    scans: Sequence[RockingScan],
    instrument: Instrument,
    element: str,
    provenance: Mapping[str, Any] | None = None,
    force: bool = False,
) -> None:
    """Write simulated scans: what a reader of an experiment would have, and no more.

    Raises
    ------
    OutputExistsError
        If the file exists and ``force`` is False.
    InputError
        If it can't be written.
    """
    camera, beam = instrument.detector, instrument.beam
    with create(path, force) as file:
        for k, scan in enumerate(scans, start=1):
            entry = make_entry(file, k, f"rocking scan {k} of {len(scans)}")
            machine = group(entry, "instrument_1", "NXinstrument")
            machine["sample_circles"] = _text(SAMPLE_CIRCLES)
            machine["detector_circles"] = _text(DETECTOR_CIRCLES)
            machine["pixel_directions"] = ", ".join(PIXEL_DIRECTIONS)
            detector = group(machine, "detector_1", "NXdetector")
            store(detector, "data", scan.counts, "counts", interpretation="image")
            store(detector, "mask", scan.mask)
            store(detector, "distance", camera.distance, "m")
            store(detector, "x_pixel_size", camera.pixel_size, "m")
            store(detector, "y_pixel_size", camera.pixel_size, "m")
            store(detector, "beam_centre", [(n - 1) / 2 for n in camera.shape], "pixel")
            store(detector, "count_time", camera.count_time, "s")
            store(detector, "dead_time", camera.dead_time, "s")
            if camera.saturation is not None:
                store(detector, "saturation_value", np.floor(camera.saturation), "counts")
            for circle in DETECTOR_CIRCLES:
                store(detector, circle, scan.angles[circle], "degree")
            source = group(machine, "beam_1", "NXbeam")
            store(source, "incident_wavelength", 1e-10 * beam.wavelength, "m")
            store(source, "monitor", scan.monitor)
            source["polarisation"] = beam.polarisation
            sample = group(entry, "sample_1", "NXsample")
            sample["element"] = element
            for circle in SAMPLE_CIRCLES:
                store(sample, circle, scan.angles[circle], "degree")
            data = group(entry, "data_1", "NXdata", signal="data", interpretation="image")
            data["data"] = h5py.SoftLink(f"{entry.name}/{DETECTOR}/data")
        process = group(file["entry_1"], "process_1", "NXprocess")
        process["program"] = "prammol"
        process["provenance"] = to_json(provenance or {})
        known = instrument.scans
        store_geometry(
            process, GeometryUncertainty(known.offset_uncertainty, known.rotation_uncertainty)
        )


def write_truth(
    path: PathLike,
    truths: Sequence[ScanTruth],
    provenance: Mapping[str, Any] | None = None,
    force: bool = False,
) -> None:
    """Write what simulated scans don't tell.

    Raises
    ------
    OutputExistsError
        If the file exists and ``force`` is False.
    InputError
        If it can't be written.
    """
    with create(path, force) as file:
        for k, true in enumerate(truths, start=1):
            entry = make_entry(file, k, f"truth of rocking scan {k} of {len(truths)}")
            data = group(entry, "data_1", "NXdata", signal="signal", interpretation="image")
            store(data, "signal", true.signal, "counts")
            store(data, "background", true.background, "counts")
            store(data, "zingers", true.zingers.astype(np.uint8))
            hidden = group(entry, "truth_1", "NXcollection")
            store(hidden, "peak", true.peak, "1/angstrom")
            store(hidden, "offset", true.offset, "1/angstrom")
            store(hidden, "rotation", true.rotation, "radian")
            store(hidden, "scale", true.scale)
        file["entry_1/truth_1/provenance"] = to_json(provenance or {})
