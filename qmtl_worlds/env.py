"""Strict readers of environment variables: a value that cannot be meant stops the start.

An empty value counts as absent. Every problem is a ``SettingError`` that names the variable, never its value
when that could be a secret.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"0", "false", "no", "off"})
_POSTGRES_SCHEMES = frozenset({"postgres", "postgresql"})
_REDIS_SCHEMES = frozenset({"redis", "rediss", "unix"})


class SettingError(ValueError):
    """An environment variable holds what no one can have meant."""

    def __init__(self, name: str, problem: str) -> None:
        """Name the variable and what is wrong with it."""
        super().__init__(f"Environment variable {name}: {problem}")
        self.name = name


@dataclass(frozen=True, slots=True)
class DatabaseAddress:
    """Where a PostgreSQL database is; ``options`` are libpq parameters such as ``sslmode``."""

    name: str
    user: str
    password: str = field(repr=False)
    host: str
    port: int
    options: dict[str, str]


@dataclass(frozen=True, slots=True)
class RedisAddress:
    """Where a Redis server is: a URL without database number, and whether it is a socket's path."""

    url: str = field(repr=False)
    is_socket: bool

    def for_client(self, database: int) -> str:
        """Return the URL as redis-py reads it."""
        return f"{self.url}?db={database}" if self.is_socket else f"{self.url}/{database}"

    def for_celery(self, database: int) -> str:
        """Return the URL as Celery's transport reads it."""
        if not self.is_socket:
            return f"{self.url}/{database}"
        return f"redis+socket://{self.url.removeprefix('unix://')}?virtual_host={database}"


def text(name: str, default: str) -> str:
    """Return the value without surrounding space, or ``default``."""
    return os.environ.get(name, "").strip() or default


def flag(name: str, *, default: bool) -> bool:
    """Read 1, true, yes, on or 0, false, no, off in any case.

    Raises:
        SettingError: the value is none of these.
    """
    value = text(name, "").lower()
    if not value:
        return default
    if value not in _TRUE | _FALSE:
        raise SettingError(name, f"{value!r} is neither true (1, true, yes, on) nor false (0, false, no, off)")
    return value in _TRUE


def integer(name: str, default: int, *, least: int = 0, most: int | None = None) -> int:
    """Read a whole number in ``[least, most]``, both ends included.

    Raises:
        SettingError: not a whole number, or out of range.
    """
    value = text(name, str(default))
    try:
        number = int(value)
    except ValueError as error:
        raise SettingError(name, f"{value!r} is not a whole number") from error
    if number < least or (most is not None and number > most):
        raise SettingError(name, f"{number} is not between {least} and {'infinity' if most is None else most}")
    return number


def choice(name: str, default: str, *, among: tuple[str, ...]) -> str:
    """Read one of a closed set of words.

    Raises:
        SettingError: another word.
    """
    value = text(name, default)
    if value not in among:
        raise SettingError(name, f"{value!r} is none of {', '.join(among)}")
    return value


def items(name: str, default: tuple[str, ...] = ()) -> list[str]:
    """Read a comma-separated list; empty items are dropped."""
    value = text(name, ",".join(default))
    return [item.strip() for item in value.split(",") if item.strip()]


def folder(name: str, default: Path) -> Path:
    """Return an absolute folder, made with mode 0700 if it is missing."""
    path = Path(text(name, str(default))).expanduser().absolute()
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    return path


def path(name: str) -> Path | None:
    """Return the absolute path that a variable names, or None; whether it exists is for those who need it to see."""
    value = text(name, "")
    return Path(value).expanduser().absolute() if value else None


def secret(name: str) -> str | None:
    """Return ``NAME``, or the content of the file that ``NAME_FILE`` names, or None.

    Raises:
        SettingError: both are given, or the file cannot be read or is empty.
    """
    value, file = text(name, ""), text(f"{name}_FILE", "")
    if value and file:
        raise SettingError(name, f"is given twice, also as {name}_FILE")
    if not file:
        return value or None
    try:
        content = Path(file).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingError(f"{name}_FILE", f"{file!r} cannot be read") from error
    if not content:
        raise SettingError(f"{name}_FILE", f"{file!r} is empty")
    return content


def secret_or_generated(name: str, kept_in: Path) -> str:
    """Return the secret, or make one and keep it in a file with mode 0600.

    Processes that start together agree: the first to link its file wins and the others read it.
    """
    if given := secret(name):
        return given
    if not kept_in.exists():
        draft = kept_in.with_name(f".{kept_in.name}.{os.getpid()}")
        draft.touch(mode=0o600)
        draft.write_text(secrets.token_urlsafe(64), encoding="utf-8")
        with contextlib.suppress(FileExistsError):
            os.link(draft, kept_in)
        draft.unlink()
    return kept_in.read_text(encoding="utf-8").strip()


def database(name: str) -> DatabaseAddress | None:
    """Read ``postgres://user:password@host:port/name?sslmode=require`` from ``NAME`` or ``NAME_FILE``.

    A socket folder goes into the host, percent-encoded. None when nothing is given.

    Raises:
        SettingError: another scheme, no database name, or a bad port.
    """
    value = secret(name)
    if value is None:
        return None
    parts = _split(name, value)
    if parts.scheme not in _POSTGRES_SCHEMES:
        raise SettingError(name, f"the scheme {parts.scheme!r} is not postgres")
    if not parts.path.strip("/"):
        raise SettingError(name, "names no database")
    return DatabaseAddress(
        name=unquote(parts.path.strip("/")),
        user=unquote(parts.username or ""),
        password=unquote(parts.password or ""),
        host=unquote(parts.hostname or ""),
        port=parts.port or 5432,
        options=dict(parse_qsl(parts.query)),
    )


def redis(name: str, default: str) -> RedisAddress:
    """Read ``redis://``, ``rediss://`` or ``unix://`` from ``NAME`` or ``NAME_FILE``.

    The database number is chosen by purpose, so the URL carries none.

    Raises:
        SettingError: another scheme, a bad port, no path of a socket, or a database number.
    """
    value = secret(name) or default
    parts = _split(name, value)
    if parts.scheme not in _REDIS_SCHEMES:
        raise SettingError(name, f"the scheme {parts.scheme!r} is not redis, rediss or unix")
    is_socket = parts.scheme == "unix"
    if is_socket and len(parts.path) <= 1:
        raise SettingError(name, "names no socket")
    if parts.query or parts.fragment or (not is_socket and parts.path.strip("/")):
        raise SettingError(name, "carries a database number or options; give the server's address only")
    return RedisAddress(url=value.rstrip("/"), is_socket=is_socket)


def _split(name: str, value: str) -> SplitResult:
    """Split a URL and make sure that its port is one."""
    try:
        parts = urlsplit(value)
        _ = parts.port
    except ValueError as error:
        raise SettingError(name, "is no URL") from error
    return parts
