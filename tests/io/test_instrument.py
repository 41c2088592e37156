"""Instruments in YAML: the example, and what is refused with one sentence."""

from __future__ import annotations

import re
from dataclasses import asdict

import pytest
import yaml
from processes import ROOT

from prammol.core.errors import InputError
from prammol.io.instrument import read_instrument
from prammol.simulation.instrument import keys_of

EXAMPLE = ROOT / "prammol" / "data" / "instrument.yaml"
LEAST = """\
beam: {flux: 1e18}
scans: {step: 0.8}
detector: {pixel_size: 1e-4, distance: 1}
"""


def test_the_example_names_every_key_and_default(tmp_path):
    def names(values):
        return {k: names(v) if isinstance(v, dict) else None for k, v in values.items()}

    example = EXAMPLE.read_text()
    assert names(yaml.safe_load(example)) == keys_of()
    read = read_instrument(EXAMPLE)
    assert read.beam.flux == 1e18
    assert read.detector.dead_time == 1e-7
    assert read.scans.exposure == (1.0, 0.7, 1.6)
    # a default that the example names is the default
    (tmp_path / "i.yaml").write_text(LEAST)
    least = asdict(read_instrument(tmp_path / "i.yaml"))
    said = re.findall(r"^  (\w+):.*default (\S.*)$", example, flags=re.MULTILINE)
    assert len(said) == 12
    for key, text in said:
        found = next(part[key] for part in least.values() if key in part)
        assert yaml.safe_load(text) == (list(found) if isinstance(found, tuple) else found), key


def test_an_instrument_is_read_back(tmp_path):
    path = tmp_path / "i.yaml"
    path.write_text(LEAST)
    made = read_instrument(path)
    values = {
        k: {n: v for n, v in part.items() if v is not None} for k, part in asdict(made).items()
    }
    path.write_text(yaml.safe_dump(values).replace("!!python/tuple", ""))
    assert read_instrument(path) == made


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (("flux", "flx"), "there is no key beam.flx, did you mean 'flux'?"),
        (("beam:", "bean:"), "there is no key bean, did you mean 'beam'?"),
        (("step: 0.8", "{}"), "can't be read as YAML"),
        (("step: 0.8", ""), "scans.step is missing"),
        (("1e18", "-3"), "beam.flux is -3, it should be greater than 0"),
        (("1e18", "much"), "beam.flux is 'much', it should be a valid number"),
        (("1e18", "'1e18'"), "beam.flux is '1e18', it should be a valid number"),
        (("1e18", "true"), "beam.flux is True, it should be a valid number"),
        (("1e18", "yes"), "beam.flux is True"),
        (("1e18", ".nan"), "beam.flux is nan, it should be a finite number"),
        (("1e18", "1e400"), "beam.flux is inf, it should be"),
        (("1e18", "1" + 400 * "0"), "beam.flux is 1000"),
        (("1e18", "[1]"), r"beam.flux is \[1\], it should be a valid number"),
        (("1e18", "{a: 1}"), "beam.flux is {'a': 1}, it should be a valid number"),
        (("step: 0.8", "step: 1, images: 2.5"), "scans.images is 2.5, it should be a valid int"),
        (("step: 0.8", "step: 1, images: 1000000000"), "scans.images is 1000000000, it should be"),
        (("step: 0.8", "step: 1, step: 2"), "key 'step' is there twice, line 2"),
        (("step: 0.8", "step: 1, scale: [1, 2], exposure: [1]"), "scans has 1 of exposure, 2"),
        (("step: 0.8", "step: 1, peaks: [[1, 1]]"), "scans.peaks.0.2 is missing"),
        (("step: 0.8", "step: 1, rotation: &a 1, offset: *a"), "aliases .* aren't allowed"),
        (("step: 0.8", "step: !!python/object/apply:os.system [ls]"), "can't be read as YAML"),
        (("step: 0.8", "step: " + 500 * "["), "nested too deeply"),
        (("distance: 1", "distance: 1, fill: 2"), "detector.fill is 2, it should be less than or"),
        (("distance: 1", "distance: 1, shape: [5, 5, 5]"), "detector.shape"),
        (("distance: 1", "distance: 1, ? [a] : 1"), "can't be read as YAML"),
        (("distance: 1", "distance: 1, polarisation: up"), "no key detector.polarisation"),
        (("1e18", "1e18, polarisation: up"), "beam.polarisation is 'up', it should be 'hor"),
        ((LEAST, ""), "the whole is None, expected keys with values"),
        ((LEAST, "- 1"), r"the whole is \[1\], expected keys with values"),
        ((LEAST, "a: b: c"), "can't be read as YAML"),
        ((LEAST, "#" * 200_000), "has more than 100000 bytes"),
        ((LEAST, "\x00"), "can't be read as YAML"),
    ],
)  # fmt: skip
def test_a_wrong_instrument_is_one_sentence(tmp_path, change, text):
    path = tmp_path / "i.yaml"
    path.write_text(LEAST.replace(*change))
    with pytest.raises(InputError, match=text) as caught:
        read_instrument(path)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert "\n" not in message
    assert len(message) < 400 + len(str(path))


def test_a_file_that_isnt_there_or_no_text_is_refused(tmp_path):
    with pytest.raises(InputError, match="no such file, expected an instrument in YAML"):
        read_instrument(tmp_path / "i.yaml")
    (tmp_path / "i.yaml").write_bytes(b"\xff\xfe\xfa")
    with pytest.raises(InputError, match="can't be read as YAML"):
        read_instrument(tmp_path / "i.yaml")
