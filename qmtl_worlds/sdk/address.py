"""Where the server is: one reading of base URLs for every way to connect."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True)
class Address:
    """Host and port of a server; ``prefix`` is the path that all targets begin with, without a slash at its end."""

    host: str
    port: int
    prefix: str
    is_secure: bool

    @property
    def authority(self) -> str:
        """Return what the Host header says."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.is_secure else 80) else f"{host}:{self.port}"


def read_address(base_url: str) -> Address:
    """Read ``http://host[:port][/prefix]`` or ``https://...``.

    Raises:
        ValueError: the address is not such a URL, or holds a user name or password.
    """
    parts = urlsplit(base_url)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.username is not None:
        raise ValueError("base_url must be http://host[:port][/prefix] or https://..., without credentials")
    is_secure = parts.scheme == "https"
    return Address(parts.hostname, parts.port or (443 if is_secure else 80), parts.path.rstrip("/"), is_secure)
