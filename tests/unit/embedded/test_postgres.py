from __future__ import annotations

import os
import shutil
from pathlib import Path

import psycopg
import pytest

from qmtl_worlds.embedded import postgres
from qmtl_worlds.embedded.process import LaunchError


def _only_the_wheel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres, "_SYSTEM_VERSIONS", Path("/nowhere"))
    monkeypatch.setattr(shutil, "which", lambda _name: None)


@pytest.mark.slow
def test_started_server_serves_utf8_on_the_loopback_and_leaves_nothing() -> None:
    server = postgres.start()

    with psycopg.connect(server.url) as connection:
        row = connection.execute("SELECT current_setting('server_encoding'), inet_server_addr()::text").fetchone()
    server.stop()

    assert row == ("UTF8", "127.0.0.1/32")
    assert not server.folder.exists()


@pytest.mark.slow
@pytest.mark.fault
def test_crashed_server_comes_back_with_what_was_committed() -> None:
    server = postgres.start(options=postgres.SURVIVES_CRASHES)
    with psycopg.connect(server.url) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")

    server.crash()
    again = server.start_again()
    with psycopg.connect(again.url) as connection:
        row = connection.execute("SELECT answer FROM kept").fetchone()
    again.stop()

    assert row == (42,)
    assert again.url == server.url


@pytest.mark.slow
def test_binaries_of_a_closed_folder_are_copied_and_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _only_the_wheel(monkeypatch)
    package = postgres.find_programs().parent.parent
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    for part in (package, package.with_name(f"{package.name}.libs")):
        shutil.copytree(part, closed / part.name, symlinks=True, ignore=shutil.ignore_patterns("include"))
    monkeypatch.setattr(postgres, "find_programs", lambda: closed / package.name / "pginstall" / "bin")

    server = postgres.start()
    with psycopg.connect(server.url) as connection:
        row = connection.execute("SELECT 6 * 7").fetchone()
    copied = (server.folder / package.name).exists()
    server.stop()

    assert row == (42,)
    assert copied == (os.geteuid() == 0)
    assert closed.stat().st_mode & 0o777 == 0o700


def test_system_binaries_go_before_the_wheel_newest_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for version in ("9", "15", "16"):
        programs = tmp_path / version / "bin"
        programs.mkdir(parents=True)
        for name in postgres.PROGRAMS:
            (programs / name).touch(mode=0o755)
    monkeypatch.setattr(postgres, "_SYSTEM_VERSIONS", tmp_path)
    monkeypatch.setattr(shutil, "which", lambda _name: None)

    assert postgres.find_programs() == tmp_path / "16" / "bin"


def test_without_any_binaries_the_error_names_the_ways_out(monkeypatch: pytest.MonkeyPatch) -> None:
    _only_the_wheel(monkeypatch)
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)

    with pytest.raises(LaunchError, match="QW_TEST_POSTGRES_URL"):
        postgres.find_programs()
