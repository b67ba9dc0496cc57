"""A small disk of its own under the database, which can run full: a tmpfs, so it takes root and a willing kernel."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

MEGABYTES: Final = 400
_BALLAST: Final = "torture-ballast"


class SmallDisk:
    """A tmpfs over a folder."""

    def __init__(self, folder: Path, *, megabytes: int = MEGABYTES) -> None:
        """Mount it; what is in the folder goes along, with its owners.

        Raises:
            CalledProcessError: it cannot be mounted here.
        """
        self._folder = folder
        aside = folder.with_name(f"{folder.name}.aside")
        about = folder.stat()
        folder.rename(aside)
        folder.mkdir(mode=0o700)
        owner = f"size={megabytes}m,mode=0700,uid={about.st_uid},gid={about.st_gid}"
        _run(["mount", "-t", "tmpfs", "-o", owner, "tmpfs", str(folder)])
        _run(["cp", "-a", f"{aside}/.", str(folder)])
        _run(["rm", "-r", str(aside)])

    def fill(self) -> None:
        """Leave no byte free, whoever else writes meanwhile."""
        with (self._folder / _BALLAST).open("ab") as ballast:
            piece = self._free()
            while piece > 0:
                try:
                    os.posix_fallocate(ballast.fileno(), os.fstat(ballast.fileno()).st_size, piece)
                    piece = self._free()
                except OSError:  # somebody was faster
                    piece = min(piece // 2, self._free())

    def empty(self) -> None:
        """Give all back that was filled."""
        (self._folder / _BALLAST).unlink(missing_ok=True)

    def unmount(self) -> None:
        """Take it away with all that it holds; who still has it open keeps nobody waiting."""
        _run(["umount", "--lazy", str(self._folder)])

    def _free(self) -> int:
        about = os.statvfs(self._folder)
        return about.f_bavail * about.f_frsize


def can_mount() -> bool:
    """Tell whether a small disk can be had here."""
    with TemporaryDirectory() as folder:
        try:
            place = Path(folder) / "disk"
            place.mkdir()
            SmallDisk(place, megabytes=1).unmount()
        except (OSError, subprocess.CalledProcessError):
            return False
    return True


def _run(command: Sequence[str]) -> None:
    subprocess.run(command, check=True, capture_output=True)  # noqa: S603 - our own folders
