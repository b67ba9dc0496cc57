"""``manage.py policy_load``: take the policies of ``config/worlds/`` into the database."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from qmtl_worlds.contracts.acts import Act
from qmtl_worlds.contracts.errors import PolicyInvalidError, WorldsError
from worlds.models import World
from worlds.services.authority import act_of_shell
from worlds.services.policies import request_policy, store_policy
from worlds.services.registry import NewWorld, create_world


class Command(BaseCommand):
    """Store each file as a draft version of the world that its name gives; a second person puts it in force."""

    help = "Store policy files as drafts and ask for them; --create makes missing worlds."

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        parser.add_argument("files", nargs="*", type=Path, help="policy files; default config/worlds/*.yml")
        parser.add_argument("--create", action="store_true", help="make worlds that are not there, in paper mode")

    def handle(self, *args: Any, **options: Any) -> None:  # noqa: ARG002 - Django's signature
        """Load every file; a faulty one stops the command after all its faults are printed."""
        files = options["files"] or sorted((Path(settings.BASE_DIR) / "config" / "worlds").glob("*.yml"))
        act = act_of_shell(reason="policy_load")
        for file in files:
            self._load(file, act, create=options["create"])

    def _load(self, file: Path, act: Act, *, create: bool) -> None:
        world_id = file.stem
        try:
            if create and not World.objects.filter(id=world_id).exists():
                create_world(new=NewWorld(world_id), act=act)
            policy = store_policy(world_id=world_id, text=file.read_text(encoding="utf-8"), act=act)
            if World.objects.get(id=world_id).policy_id == policy.pk:
                self.stdout.write(f"{policy}: in force already")
                return
            request_policy(world_id=world_id, version=policy.version, act=act)
        except PolicyInvalidError as error:
            for fault in error.faults:
                self.stderr.write(f"{file.name}:{fault}")
            raise CommandError(f"{file.name} has {len(error.faults)} faults; nothing of it was stored.") from error
        except (WorldsError, OSError) as error:
            raise CommandError(f"{file.name}: {error}") from error
        self.stdout.write(f"{policy}: stored, waits for a second person to approve it")
