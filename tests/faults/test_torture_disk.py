"""The database's disk runs full in a storm, again and again, and gets room again."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.faults.extended import only_extended
from tests.faults.test_torture import storm
from torture.disk import SmallDisk, can_mount


@pytest.fixture
def _root() -> None:
    """Where no tmpfs can be mounted no disk can run full."""
    if not can_mount():
        pytest.skip("no tmpfs can be mounted here, so no disk can run full")


@pytest.mark.usefixtures("_root")
def test_small_disk_takes_no_byte_while_it_is_full_and_keeps_what_it_had(tmp_path: Path) -> None:
    folder = tmp_path / "disk"
    folder.mkdir()
    (folder / "kept").write_text("before", encoding="utf-8")
    disk = SmallDisk(folder, megabytes=1)
    try:
        disk.fill()
        with pytest.raises(OSError, match="No space left"):
            (folder / "more").write_bytes(os.urandom(8192))
        disk.empty()
        (folder / "more").write_bytes(os.urandom(8192))

        kept = (folder / "kept").read_text(encoding="utf-8")
    finally:
        disk.unmount()

    assert kept == "before"
    assert list(folder.iterdir()) == []


@only_extended
@pytest.mark.usefixtures("_root")
@pytest.mark.slow
@pytest.mark.fault
@pytest.mark.timeout(400)
@pytest.mark.parametrize("vendor", ["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def test_nothing_is_opened_lost_or_doubled_while_the_disk_runs_full(tmp_path: Path, vendor: str) -> None:
    words = ("--minutes", "0.5", "--worlds", "3", "--seed", "disk", "--database", vendor)

    done, report = storm(tmp_path / "report", *words, "--small-disk", "--strikes", "disk full")

    assert done.returncode == 0, done.stdout + done.stderr
    assert report["problems"] == []
    assert report["faults"]["disk full"] > 0
    assert report["counts"]["applies"] > 0
