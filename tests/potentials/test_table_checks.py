"""Tables of potentials: what LAMMPS would take and should not."""

from __future__ import annotations

import pytest

from prammol.core.errors import PotentialError
from prammol.potentials.potential import aluminium
from prammol.potentials.table_checks import check_table


@pytest.mark.parametrize(
    ("line", "text", "message"),
    [
        (1000, "nan", "line 1001 is 'nan', expected finite numbers"),
        (3000, "1.0 -inf 1.0 1.0 1.0", "line 3001 is '1.0 -inf"),
        (3000, "", "the potential ends too early, its tables have 29999 numbers"),
        (4, "1000000000 0.1 1000000000 0.1 6", "promises 3000000000"),
        (4, "-5 0.1 10000 0.1 6", "line 5 is '-5"),
        (4, "10000 0 10000 0 6", "line 5 is"),
        (4, "10000 2e-4 10000 6e-4 1e5", "cutoff of at most 100 Å"),
        (3, "1000000 Al", "elements in line 4"),
    ],
)
def test_a_damaged_table_is_refused_before_lammps_takes_it(tmp_path, line, text, message):
    lines = aluminium().file.read_text().splitlines()
    lines[line] = text
    file = tmp_path / "bad.eam.alloy"
    file.write_text("\n".join(lines) + "\n")
    with pytest.raises(PotentialError) as error:
        check_table(file, "eam/alloy")
    assert message in str(error.value)
    assert str(error.value).startswith(str(file))


def test_tables_that_come_with_lammps_are_whole():
    from prammol.potentials.choose import find_potential

    for name, style, elements in (
        ("Cu_mishin1.eam.alloy", "eam/alloy", ["Cu"]),
        ("CuNi.eam.alloy", "eam/alloy", ["Ni", "Cu"]),
        ("AlFe_mm.eam.fs", "eam/fs", ["Al", "Fe"]),
        ("AlCu.adp", "adp", ["Al", "Cu"]),
        ("Cu_u3.eam", "eam", []),
    ):
        assert check_table(find_potential(name), style) == elements
