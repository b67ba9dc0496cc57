from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from qmtl_worlds import bootstrap


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An environment that is not there yet, and two small locks."""
    monkeypatch.setattr(bootstrap, "ROOT", tmp_path)
    monkeypatch.setattr(bootstrap, "ENVIRONMENT", tmp_path / ".venv")
    monkeypatch.setattr(bootstrap, "MARKER", tmp_path / ".venv" / "installed")
    for name, lock in (("RUNTIME_LOCK", "requirements.lock"), ("TEST_LOCK", "requirements-test.lock")):
        file = tmp_path / lock
        file.write_text(
            f"# {lock}\nuv==1.2 \\\n    --hash=sha256:00\nuvicorn==3 \\\n    --hash=sha256:11\n", encoding="utf-8"
        )
        monkeypatch.setattr(bootstrap, name, file)
    monkeypatch.delenv(bootstrap.OPT_OUT, raising=False)
    return tmp_path


@pytest.fixture
def replaced(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The command lines that this process would have become."""
    became: list[list[str]] = []
    monkeypatch.setattr(os, "execv", lambda _program, words: became.append(words))
    return became


def installs(monkeypatch: pytest.MonkeyPatch, *, with_uv: bool, with_pip: bool) -> list[str]:
    tried: list[str] = []

    def install(name: str, *, works: bool) -> bool:
        tried.append(name)
        return works

    monkeypatch.setattr(bootstrap, "_install_with_uv", lambda lock: install(f"uv {lock.name}", works=with_uv))
    monkeypatch.setattr(bootstrap, "_install_with_pip", lambda lock: install(f"pip {lock.name}", works=with_pip))
    return tried


def test_first_start_makes_the_environment_and_goes_on_inside(
    place: Path, replaced: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = installs(monkeypatch, with_uv=True, with_pip=True)

    bootstrap.enter(["manage.py", "demo"])

    assert tried == ["uv requirements.lock"]
    assert replaced == [[str(place / ".venv" / "bin" / "python"), "manage.py", "demo"]]
    assert bootstrap.is_installed(bootstrap.RUNTIME_LOCK)
    assert (place / ".venv" / "bin" / "qmtl-worlds").stat().st_mode & 0o111


def test_second_start_installs_nothing(place: Path, replaced: list[list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    tried = installs(monkeypatch, with_uv=True, with_pip=True)
    bootstrap.prepare(bootstrap.RUNTIME_LOCK)

    bootstrap.enter(["manage.py", "demo"])

    assert tried == ["uv requirements.lock"]
    assert len(replaced) == 1


def test_changed_lock_is_installed_again(
    place: Path, replaced: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = installs(monkeypatch, with_uv=True, with_pip=True)
    bootstrap.prepare(bootstrap.RUNTIME_LOCK)
    bootstrap.RUNTIME_LOCK.write_text("another\n", encoding="utf-8")

    bootstrap.enter(["manage.py", "demo"])

    assert tried == ["uv requirements.lock", "uv requirements.lock"]


def test_tests_take_the_test_lock_and_later_commands_keep_it(
    place: Path, replaced: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = installs(monkeypatch, with_uv=True, with_pip=True)

    bootstrap.enter(["manage.py", "test"])
    bootstrap.enter(["manage.py", "demo"])

    assert tried == ["uv requirements-test.lock"]


def test_pip_installs_where_uv_cannot(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tried = installs(monkeypatch, with_uv=False, with_pip=True)

    bootstrap.prepare(bootstrap.RUNTIME_LOCK)

    assert tried == ["uv requirements.lock", "pip requirements.lock"]


def test_failed_install_leaves_no_marker_and_says_what_is_needed(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installs(monkeypatch, with_uv=False, with_pip=False)

    with pytest.raises(SystemExit, match="python3-pip"):
        bootstrap.prepare(bootstrap.RUNTIME_LOCK)

    assert not bootstrap.is_installed(bootstrap.RUNTIME_LOCK)


def test_opting_out_does_nothing(place: Path, replaced: list[list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(bootstrap.OPT_OUT, "1")

    bootstrap.enter(["manage.py", "demo"])

    assert replaced == []
    assert not (place / ".venv").exists()


def test_only_the_locked_installer_is_fetched(place: Path) -> None:
    assert bootstrap.locked_block(bootstrap.RUNTIME_LOCK, "uv") == "uv==1.2 \\\n    --hash=sha256:00\n"


def test_bootstrap_runs_in_a_python_without_any_package() -> None:
    command = [sys.executable, "-I", "-S", "-c", "import sys; sys.path.insert(0, '.'); import qmtl_worlds.bootstrap"]

    done = subprocess.run(command, cwd=Path(bootstrap.__file__).parent.parent, capture_output=True, check=False)

    assert done.stderr == b""
    assert done.returncode == 0
