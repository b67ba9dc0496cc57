"""Kills that wait for the database, as files that every answer looks at.

SQLite has one writer at a time, and a kill waits for none: its file closes the gates first, its row follows. On
PostgreSQL there are no such files. ``<data>/kills/<world>.kill`` made by hand works as well.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Final

from django.conf import settings
from django.db import connection

from qmtl_worlds.contracts.acts import Act
from qmtl_worlds.contracts.errors import InputInvalidError
from qmtl_worlds.contracts.ids import InstanceKey

SUFFIX: Final = ".kill"
BY_HAND: Final = "file"
"""The actor of a file that does not say who dropped it."""


@dataclass(frozen=True, slots=True)
class FiledKill:
    """A kill that is not recorded yet; ``scope`` is an instance key, empty for the whole world."""

    path: Path
    world_id: str
    scope: str
    actor: str
    reason: str
    at: datetime
    request_id: str = ""


def are_used() -> bool:
    """Tell whether this database needs such files."""
    return connection.vendor == "sqlite"


def drop(*, world_id: str, scope: str, act: Act) -> FiledKill:
    """Write the file of a kill; from here on every answer is closed, also after a crash of this process or machine.

    Where the disk takes no more words an empty file must do: it kills the whole world.
    """
    folder = _folder()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    told = sha256(f"{scope}\0{act.actor}".encode()).hexdigest()[:16]
    path = folder / f"{world_id}.{told}{SUFFIX}"
    body = {"scope": scope, "actor": act.actor, "reason": act.reason, "at": act.now.isoformat()}
    try:
        _write(path, json.dumps(body | {"request_id": act.request_id}))
    except OSError:
        path.touch(mode=0o600)
    _sync(folder)
    return FiledKill(path, world_id, scope, act.actor, act.reason, act.now, act.request_id)


def filed_kills(world_id: str | None = None) -> tuple[FiledKill, ...]:
    """Return the kills that no row stands for yet, of one world or of all; one that cannot be read kills its world."""
    if not are_used():
        return ()
    found = (path for path in _files() if world_id is None or _world_of(path) == world_id)
    return tuple(kill for path in sorted(found) if (kill := _read(path)) is not None)


def remove(kill: FiledKill) -> None:
    """Take the file of a kill away, once its row is committed."""
    kill.path.unlink(missing_ok=True)


def _write(path: Path, text: str) -> None:
    """Write a file that nobody sees before it is whole and on the disk."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with draft.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def _folder() -> Path:
    return Path(settings.DATA_DIR) / "kills"


def _files() -> Iterator[Path]:
    try:
        with os.scandir(_folder()) as entries:
            names = [entry.path for entry in entries if entry.name.endswith(SUFFIX) and not entry.name.startswith(".")]
    except FileNotFoundError:
        return iter(())
    return map(Path, names)


def _world_of(path: Path) -> str:
    """Return the world that a file is about; no world's id holds a dot."""
    return path.name.partition(".")[0]


def _read(path: Path) -> FiledKill | None:
    """Return what the file says, None where it has just gone: its row is there by now."""
    world_id = _world_of(path)
    try:
        body = json.loads(path.read_text(encoding="utf-8"))
        at = datetime.fromisoformat(body["at"]).astimezone(UTC)
        scope = InstanceKey.from_text(body["scope"]).text if body["scope"] else ""
        return FiledKill(path, world_id, scope, str(body["actor"]), str(body["reason"]), at, str(body["request_id"]))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, LookupError, TypeError, AttributeError, InputInvalidError):
        return FiledKill(path, world_id, "", BY_HAND, "a kill file that says no more", datetime.now(UTC))


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
