from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from qmtl_worlds.embedded.process import LaunchError
from qmtl_worlds.embedded.supervisor import Backoff, Program, Supervisor
from tests.unit.embedded.waiting import eventually

AT_ONCE = Backoff(first_seconds=0.0)
# Says which start it is, ends by SIGTERM only, and says so.
STEADY = 'echo "start $MARK"; trap "echo stopped; exit 0" TERM; while :; do sleep 0.02; done'
# Supervises one steady program and waits; the test signals it.
PARENT = """
import contextlib, sys
from pathlib import Path
from qmtl_worlds.embedded.supervisor import Program, Supervisor
program = Program(name="one", command=("sh", "-c", sys.argv[2]))
with contextlib.suppress(KeyboardInterrupt), Supervisor([program], log_folder=Path(sys.argv[1])) as supervisor:
    print(supervisor.process_ids()["one"], flush=True)
    supervisor.wait()
print("clean", flush=True)
"""


def steady(name: str, **environment: str) -> Program:
    return Program(name=name, command=("sh", "-c", STEADY), environment=environment)


def is_running(process_id: int) -> bool:
    try:
        state = Path(f"/proc/{process_id}/stat").read_text(encoding="ascii").rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def test_block_is_entered_when_every_program_is_ready_in_order(tmp_path: Path) -> None:
    sign = tmp_path / "sign"
    first = Program(name="first", command=("sh", "-c", f"touch {sign}; exec sleep 60"), is_ready=sign.exists)
    second = Program(name="second", command=("sh", "-c", f"test -e {sign} && echo seen; exec sleep 60"))

    with Supervisor([first, second], log_folder=tmp_path) as supervisor:
        ready = sign.exists()
        seen = eventually(lambda: supervisor.log_of("second").read_text(encoding="utf-8") == "seen\n")

    assert ready
    assert seen


def test_leaving_the_block_stops_every_program_by_its_own_path(tmp_path: Path) -> None:
    with Supervisor([steady("a", MARK="1"), steady("b", MARK="2")], log_folder=tmp_path) as supervisor:
        ids = supervisor.process_ids()
        assert eventually(lambda: all("start" in log.read_text(encoding="utf-8") for log in tmp_path.glob("*.log")))

    assert [is_running(process_id) for process_id in ids.values()] == [False, False]
    assert (tmp_path / "a.log").read_text(encoding="utf-8") == "start 1\nstopped\n"
    assert (tmp_path / "b.log").read_text(encoding="utf-8") == "start 2\nstopped\n"


def test_killed_program_is_started_again(tmp_path: Path) -> None:
    said: list[str] = []
    with Supervisor([steady("one")], log_folder=tmp_path, backoff=AT_ONCE, say=said.append) as supervisor:
        first_id = supervisor.process_ids()["one"]

        os.kill(first_id, signal.SIGKILL)

        assert eventually(lambda: supervisor.process_ids()["one"] != first_id)
        assert is_running(supervisor.process_ids()["one"])
    assert "one ended with code -9; next start in 0.0 s." in said


def test_program_that_ends_before_it_is_ready_stops_the_others_and_tells_why(tmp_path: Path) -> None:
    broken = Program(name="broken", command=("sh", "-c", "echo no such table; exit 3"), is_ready=lambda: False)
    supervisor = Supervisor([steady("one"), broken], log_folder=tmp_path)

    with pytest.raises(LaunchError, match=r"(?s)code 3.*no such table"), supervisor:
        pass

    assert not is_running(supervisor.process_ids()["one"])


def test_missing_program_is_an_error(tmp_path: Path) -> None:
    missing = Program(name="missing", command=("/nowhere/program",))

    with pytest.raises(LaunchError, match="/nowhere/program"), Supervisor([missing], log_folder=tmp_path):
        pass


def test_readiness_check_that_fails_itself_stops_everything(tmp_path: Path) -> None:
    def is_ready() -> bool:
        raise OSError("the disk is gone")

    program = Program(name="one", command=("sh", "-c", STEADY), is_ready=is_ready)
    supervisor = Supervisor([program], log_folder=tmp_path)

    with pytest.raises(OSError, match="disk is gone"), supervisor:
        pass

    assert not is_running(supervisor.process_ids()["one"])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_to_the_supervisor_stops_its_programs_cleanly(tmp_path: Path, number: signal.Signals) -> None:
    command = [sys.executable, "-c", PARENT, str(tmp_path), STEADY]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        child_id = int(parent.stdout.readline())
        assert eventually(lambda: "start" in (tmp_path / "one.log").read_text(encoding="utf-8"))

        parent.send_signal(number)

        assert parent.stdout.readline() == b"clean\n"
        assert parent.wait(20) == 0
    assert not is_running(child_id)
    assert (tmp_path / "one.log").read_text(encoding="utf-8").endswith("stopped\n")


def test_programs_die_with_a_killed_supervisor(tmp_path: Path) -> None:
    command = [sys.executable, "-c", PARENT, str(tmp_path), STEADY]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        child_id = int(parent.stdout.readline())

        parent.kill()

        assert eventually(lambda: not is_running(child_id))


def test_backoff_doubles_up_to_its_longest() -> None:
    backoff = Backoff(first_seconds=0.5, longest_seconds=3.0)

    assert [backoff.delay(restarts) for restarts in (0, 1, 2, 3, 1000)] == [0.5, 1.0, 2.0, 3.0, 3.0]
