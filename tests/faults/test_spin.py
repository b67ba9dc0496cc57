from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from formal.patches import MEANINGS
from qmtl_worlds.contracts.states import RunState
from qmtl_worlds.lifecycle.apply import TRANSITIONS
from tests.faults.extended import only_extended

MODEL = Path(__file__).resolve().parents[2] / "formal" / "apply.pml"
SMALL = ("ACTS=0", "FAULTS=0", "RUNS=1")
LARGE = (("ACTS=2", "FAULTS=0", "RUNS=1"), ("ACTS=1", "FAULTS=1", "RUNS=1"), ("ACTS=1", "FAULTS=0", "RUNS=2"))
NOT_IN_THE_MODEL = frozenset({"B15"})
MUTANTS = [name for name in MEANINGS if name not in NOT_IN_THE_MODEL]
WHERE_FOUND = {
    "B1": ("ACTS=2", "FAULTS=0", "RUNS=1"),
    "B2": (*SMALL, "WORKERS=2"),
    "B4": ("ACTS=1", "FAULTS=0", "RUNS=1"),
    "B5": ("ACTS=1", "FAULTS=0", "RUNS=1"),
    "B7": (*SMALL, "FRAMES"),
    "B8": ("ACTS=2", "FAULTS=0", "RUNS=1"),
    "B12": ("ACTS=1", "FAULTS=0", "RUNS=1", "FRAMES"),
    "B13": ("ACTS=0", "FAULTS=1", "RUNS=1"),
}
"""Where the smallest world does not do."""

needs_spin = pytest.mark.skipif(
    not (shutil.which("spin") and shutil.which("gcc")), reason="spin and a C compiler are not installed"
)


def verified(folder: Path, *settings: str) -> tuple[int, int]:
    """Return how many states spin has seen and how many errors it has found."""
    flags = [f"-D{setting}" for setting in settings]
    subprocess.run(["spin", *flags, "-a", str(MODEL)], cwd=folder, check=True, capture_output=True)  # noqa: S607
    build = ["gcc", "-O2", "-w", "-DSAFETY", "-DCOLLAPSE", "-DMEMLIM=2500", "-o", "pan", "pan.c"]
    subprocess.run(build, cwd=folder, check=True, capture_output=True)
    search = subprocess.run(["./pan", "-m200000", "-w22"], cwd=folder, check=True, capture_output=True, text=True)
    found = re.search(r"errors: (\d+)\s+(\d+) states, stored", search.stdout)
    assert found is not None, search.stdout
    assert "max search depth too small" not in search.stdout
    assert "out of memory" not in search.stdout
    return int(found[2]), int(found[1])


def test_model_has_the_states_of_the_machine() -> None:
    words = re.search(r"mtype = \{([^}]*)\}", MODEL.read_text(encoding="utf-8"))

    assert words is not None
    assert set(re.findall(r"\w+", words[1])) - {"unmade"} == {state.value for state in RunState}


def test_model_has_the_transitions_of_the_machine() -> None:
    rows = re.findall(r"GO\(\w+, (\w+), (\w+), (\w+)\)", MODEL.read_text(encoding="utf-8"))

    table = {(rule.source.value, rule.event.value, rule.target.value) for rule in TRANSITIONS}
    assert {row for row in rows if row[0] != "state"} - {("run", "state", "event")} == table


@needs_spin
@pytest.mark.slow
def test_spin_finds_no_error_in_the_smallest_world(tmp_path: Path) -> None:
    states, errors = verified(tmp_path, *SMALL)

    assert errors == 0
    assert states > 10_000


@needs_spin
@only_extended
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_spin_finds_no_error_in_five_million_states(tmp_path: Path) -> None:
    results = [verified(tmp_path, *settings) for settings in LARGE]

    assert [errors for _, errors in results] == [0] * len(LARGE)
    assert sum(states for states, _ in results) >= 5_000_000


@needs_spin
@only_extended
@pytest.mark.slow
@pytest.mark.parametrize("name", MUTANTS)
def test_spin_finds_every_known_way_to_get_it_wrong(name: str, tmp_path: Path) -> None:
    settings = WHERE_FOUND.get(name, ("ACTS=0", "FAULTS=0"))

    assert verified(tmp_path, name, *settings)[1] == 1, MEANINGS[name]
