"""An old backup is put back under Runners that ask, on servers and in processes of their own (F28)."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.extended import only_extended
from tests.faults.test_torture import storm
from torture.comeback import SILENT, WORLDS


@only_extended
@pytest.mark.slow
@pytest.mark.fault
@pytest.mark.timeout(400)
@pytest.mark.parametrize("vendor", ["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def test_old_backup_opens_nothing_until_a_person_lifts_the_fence(tmp_path: Path, vendor: str) -> None:
    done, told = storm(tmp_path / "report", "--restore", "--database", vendor)

    assert done.returncode == 0, done.stdout + done.stderr
    assert told["permitted"]["before"] >= told["gates"] / 2  # all were open by then
    assert [told["permitted"][phase] for phase in SILENT] == [0] * len(SILENT)
    assert told["permitted"]["lifted"] > 0
    assert (told["fell"], told["late"]) == (0, 0)
    assert set(told["suspected"]) == set(WORLDS)
